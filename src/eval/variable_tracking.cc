// Variable tracking after RULER (Hsieh et al. 2024): a value is handed on along a chain of five
// variables through filler text; which of them hold it? Small models cannot, with any cache: the
// row of f16 says so.
#include "eval/variable_tracking.h"

#include <fmt/format.h>

#include "eval/answer_score.h"
#include "eval/record.h"

namespace kvkeep {
namespace {

constexpr int kVariables = 5, kLetters = 5;
constexpr const char* kHead =
    "The text below sets variables, some of them to the value of another. Remember them all.\n";

const RecallTask& chain_task() {
  static const RecallTask task = {
      "variable_tracking", '\n', make_chain, 48, {{"accuracy", contains_all}}};
  return task;
}

std::string random_name(Rng& rng) {
  std::string name;
  for (int i = 0; i < kLetters; ++i) name += static_cast<char>('A' + rng.below(26));
  return name;
}

}  // namespace

RecallSample chain_sample(const std::string& value, const std::vector<std::string>& names,
                          int sentences) {
  std::vector<Fact> facts;
  std::string from = value;
  for (size_t i = 0; i < names.size(); ++i) {
    const double depth = (static_cast<double>(i) + 0.5) / static_cast<double>(names.size());
    facts.push_back({fmt::format(" VAR {} = {}.", names[i], from), depth});
    from = "VAR " + names[i];
  }
  const std::string ask = fmt::format(
      "\nWhich {0} variables have the value {1}? The variables with the value {1} are VAR",
      names.size(), value);
  return {hide_facts(kHead, filler_sentences(sentences), facts), {{ask, names}}};
}

Result<RecallSample> make_chain(const TaskInput& in, int index) {
  Rng rng = sample_rng(in, index);
  const std::string value = random_digits(rng, 5);
  std::vector<std::string> names;
  for (int i = 0; i < kVariables; ++i) names.push_back(random_name(rng));
  const int length = in.options.context;
  return fill_length(in, chain_task(), length, static_cast<size_t>(length),
                     [&](size_t n) { return chain_sample(value, names, static_cast<int>(n)); });
}

Result<TaskResult> run_variable_tracking(const TaskInput& in) {
  return run_recall(in, chain_task());
}

}  // namespace kvkeep
