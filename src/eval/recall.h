// Tasks that ask for what a context holds. The questions come after the compression, so no plan can
// know what will be asked, and a plan that threw the wrong row away has lost it.
//
// A sample is one context with one or more questions. The context is prefilled and compressed; then
// each question is fed, the cache compressed again, and the answer decoded greedily. Question and
// answer stay in the cache, as in a chat. With options.query_aware each question gets a cache of
// its own, which is compressed only after the question was read.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "eval/tally.h"
#include "eval/task.h"

namespace kvkeep {

struct RecallQuestion {
  std::string ask;
  std::vector<std::string> answers;  // what is right; a metric says whether one or all count
  Place place = {};                  // of the answer, where the sample as a whole has none
};

struct RecallSample {
  std::string context;
  std::vector<RecallQuestion> questions;
  Place place = {};
  std::string group = {};
};

// 0 to 1: how good what the model said is, blanks around it removed.
struct RecallMetric {
  std::string name;
  double (*score)(const std::string& said, const RecallQuestion& question);
};

// 1 if the first answer was given letter for letter.
double exact_answer(const std::string& said, const RecallQuestion& question);

struct RecallTask {
  std::string name;
  char end;  // closes an answer
  // The same index and seed give the same sample. bad_input when the context holds too little.
  std::function<Result<RecallSample>(const TaskInput& in, int index)> make;
  int answer_tokens = 8;  // at most
  std::vector<RecallMetric> metrics = {{"accuracy", exact_answer}};
  // What the model says between a question and its first answer. With it the row has answer_nll:
  // -ln P of that answer, nats a question, which still tells plans apart where all of them answer
  // rightly. A tally then has it behind the metrics.
  std::optional<std::string> lead = {};
};

Result<TaskResult> run_recall(const TaskInput& in, const RecallTask& task);

// The tokens that a sample takes at most, with BOS, questions and answers.
int recall_tokens(const Model& model, const RecallSample& sample, int answer_tokens = 8);

// The tokens of an answer that follows a question directly, as one text would be cut; cut by itself
// where its first letters belong to the question's last token.
std::vector<int32_t> answer_tokens(const Model& model, const std::string& ask,
                                   const std::string& answer);

// Positions of the tokens of `text` that show any letter of `part`, wherever it stands; `tokens`
// are those of the text, perhaps with a BOS in front.
std::vector<int> positions_of(const Model& model, const std::vector<int32_t>& tokens,
                              const std::string& text, const std::string& part);

}  // namespace kvkeep
