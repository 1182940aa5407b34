// Verbatim recall of a passage: random words, so that nothing but the passage tells what comes
// next, and one lost row is one wrong word.
#include "eval/copy.h"

#include <sstream>

#include "base/fail.h"
#include "eval/record.h"

namespace kvkeep {
namespace {

constexpr int kMostWords = 64, kTokensPerWord = 8;

const RecallTask& copy_task() {
  static const RecallTask task = {"copy",
                                  '\n',
                                  make_copy,
                                  kMostWords * kTokensPerWord,
                                  {{"accuracy", words_before_error}, {"exact", exact_answer}}};
  return task;
}

RecallSample copy_sample(const std::vector<std::string>& words, size_t n) {
  std::string passage;
  for (size_t i = 0; i < n; ++i) passage += (i ? " " : "") + words[i];
  return {"Repeat: " + passage, {{"\nAgain:", {passage}}}};
}

}  // namespace

double words_before_error(const std::string& said, const RecallQuestion& question) {
  std::istringstream found(said), right(question.answers.at(0));
  int same = 0, all = 0;
  bool wrong = false;
  for (std::string word, other; right >> word; ++all) {
    wrong = wrong || !(found >> other) || other != word;
    same += !wrong;
  }
  return all > 0 ? static_cast<double>(same) / all : 0;
}

Result<RecallSample> make_copy(const TaskInput& in, int index) {
  Rng rng = sample_rng(in, index);
  std::vector<std::string> words;
  for (int i = 0; i < kMostWords; ++i) words.push_back(compound_key(rng));
  size_t n = words.size();
  const auto takes = [&](size_t count) {
    const RecallSample sample = copy_sample(words, count);
    const int again =
        static_cast<int>(in.model.encode(sample.questions[0].answers[0], false).size());
    return recall_tokens(in.model, sample, again + 2);
  };
  while (n > 1 && takes(n) > in.options.context) n = n * 3 / 4;
  if (takes(n) > in.options.context)
    return bad_input("{} tokens (--ctx) are too few to say a word again", in.options.context);
  return copy_sample(words, n);
}

Result<TaskResult> run_copy(const TaskInput& in) { return run_recall(in, copy_task()); }

}  // namespace kvkeep
