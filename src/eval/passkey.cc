// A number between filler sentences, at five depths in turn (Mohtashami and Jaggi 2023): one fact
// that stands out, so a plan that keeps what is unusual finds it at any depth.
#include "eval/passkey.h"

#include <fmt/format.h>

#include <cmath>
#include <iterator>

#include "base/fail.h"
#include "eval/hidden_fact.h"
#include "eval/record.h"

namespace kvkeep {
namespace {

constexpr const char* kFiller[] = {"The grass is green.", "The sky is blue.", "The sun is yellow.",
                                   "Here we go.", "There and back again."};
constexpr double kDepths[] = {0, 0.25, 0.5, 0.75, 1};

}  // namespace

RecallSample passkey_sample(const std::string& key, double depth, int sentences) {
  const auto place = static_cast<int>(std::lround(depth * sentences));
  std::string before, after;
  for (int i = 0; i < sentences; ++i) {
    const std::string sentence = kFiller[static_cast<size_t>(i) % std::size(kFiller)];
    if (i < place)
      before += (i ? " " : "") + sentence;
    else
      after += " " + sentence;
  }
  return {kFactHead + before + fact_text(key) + after,
          {{kFactQuestion, key}},
          fmt::format("depth_{}", depth)};
}

Result<RecallSample> make_passkey(const TaskInput& in, int index) {
  Rng rng = sample_rng(in, index);
  const std::string key = random_digits(rng, 5);
  const double depth = kDepths[static_cast<size_t>(index) % std::size(kDepths)];
  const auto tokens = [&](int n) { return recall_tokens(in.model, passkey_sample(key, depth, n)); };
  int low = 0, high = in.options.context;  // a sentence has at least one token
  if (tokens(low) > in.options.context)
    return bad_input("{} tokens (--ctx) are too few for a pass key and its question",
                     in.options.context);
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (tokens(middle) <= in.options.context ? low : high) = middle;
  }
  return passkey_sample(key, depth, low);
}

Result<TaskResult> run_passkey(const TaskInput& in) {
  return run_recall(in, {"passkey", '>', make_passkey});
}

}  // namespace kvkeep
