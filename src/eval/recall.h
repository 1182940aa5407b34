// Tasks that ask for what a context holds. The questions come after the compression, so no plan can
// know what will be asked, and a plan that threw the wrong row away has lost it.
//
// A sample is one context with one or more questions. The context is prefilled and compressed; then
// each question is fed, the cache compressed again, and the answer decoded greedily. Question and
// answer stay in the cache, as in a chat. Only an exact answer counts.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "eval/task.h"

namespace kvkeep {

struct RecallQuestion {
  std::string ask, answer;
};

struct RecallSample {
  std::string context;
  std::vector<RecallQuestion> questions;
  std::string group;  // accuracies are also given by group, if it has a name
};

struct RecallTask {
  std::string name;
  char end;  // closes an answer
  // The same index and seed give the same sample. bad_input when the context holds too little.
  Result<RecallSample> (*make)(const TaskInput& in, int index);
};

Result<TaskResult> run_recall(const TaskInput& in, const RecallTask& task);

// The tokens that a sample takes at most, with BOS, questions and answers.
int recall_tokens(const Model& model, const RecallSample& sample);

// Right answers of one sample.
struct Tally {
  int right = 0, asked = 0;
  std::string group;
};

// Share of right answers, and its 95 % interval by a bootstrap over samples: questions on the same
// context succeed or fail together, so they are drawn together.
double accuracy(std::span<const Tally> tallies);
std::pair<double, double> accuracy_interval(std::span<const Tally> tallies, uint64_t seed);

}  // namespace kvkeep
