// How long a compressed cache says the same as the f16 cache: greedy continuations of book text,
// 256 tokens each, compared token by token. After the first difference the texts are different
// stories, so `first_divergence` says more than `agreement`.
#include "eval/generate.h"

#include <algorithm>
#include <chrono>

#include "base/fail.h"
#include "eval/all_plans.h"
#include "eval/recall_row.h"

namespace kvkeep {
namespace {

constexpr int kMostTokens = 256;

using Tokens = std::vector<int32_t>;

struct Prompts {
  std::vector<Tokens> tokens;
  int continuation = 0;  // tokens to generate
};

// Different stretches of the text, overlapping only where the text is too short for that.
Result<Prompts> make_prompts(const TaskInput& in) {
  const auto samples = static_cast<size_t>(std::max<int64_t>(in.options.samples, 0));
  if (samples < 1 || in.options.context < 8)
    return bad_input("task generate needs at least 1 sample of 8 tokens, found {} of {} (--ctx)",
                     samples, in.options.context);
  Prompts prompts;
  prompts.continuation = std::min(kMostTokens, in.options.context / 2);
  const auto bos = in.options.bos ? in.model.encode("", true) : Tokens{};
  const auto length = static_cast<size_t>(in.options.context - prompts.continuation) - bos.size();
  const auto text = first_tokens(in.model, in.text, static_cast<int64_t>(length * samples));
  if (text.size() < length)
    return bad_input("the text has {} tokens; task generate needs at least {} (--ctx)", text.size(),
                     length);
  for (size_t i = 0; i < samples; ++i) {
    const size_t first = i * length % (text.size() - length + 1);
    prompts.tokens.push_back(bos);
    prompts.tokens.back().insert(prompts.tokens.back().end(),
                                 text.begin() + static_cast<ptrdiff_t>(first),
                                 text.begin() + static_cast<ptrdiff_t>(first + length));
  }
  return prompts;
}

Result<Tokens> continue_prompt(const TaskInput& in, const Plan& plan, const Tokens& prompt,
                               int count, const ProgressFn& progress, RecallScore& score) {
  auto session = open_session(in, plan);
  if (!session) return tl::unexpected(session.error());
  const double all = static_cast<double>(prompt.size()) + count;
  KVKEEP_TRY(session->prefill(prompt, part_of(progress, 0, all)));
  const auto start = std::chrono::steady_clock::now();
  Tokens said;
  while (true) {
    said.push_back(session->sample());
    if (said.size() == static_cast<size_t>(count)) break;
    const double done = static_cast<double>(prompt.size() + said.size());
    if (progress && !progress(done, all)) return cancelled();
    KVKEEP_TRY(session->step(said.back()));
  }
  score.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  score.steps = count - 1;
  score.cache = session->report();
  return said;
}

}  // namespace

std::vector<double> compare_continuations(const Tokens& said, const Tokens& exact) {
  size_t same = 0, first = exact.size();
  for (size_t i = 0; i < exact.size(); ++i) {
    same += said[i] == exact[i];
    if (said[i] != exact[i]) first = std::min(first, i);
  }
  return {static_cast<double>(same) / static_cast<double>(exact.size()), static_cast<double>(first),
          first == exact.size() ? 1.0 : 0.0};
}

Result<TaskResult> run_generate(const TaskInput& in) {
  const auto prompts = make_prompts(in);
  if (!prompts) return tl::unexpected(prompts.error());
  const auto f16 = Plan::parse("f16");
  if (!f16) return tl::unexpected(f16.error());
  Tokens exact;
  const auto run = [&](size_t i, size_t plan, const ProgressFn& progress) -> Result<RecallScore> {
    RecallScore score;
    const int count = prompts->continuation;
    if (plan == 0) {
      auto said = continue_prompt(in, *f16, prompts->tokens[i], count, progress, score);
      if (!said) return tl::unexpected(said.error());
      exact = std::move(*said);
    }
    const auto said =
        continue_prompt(in, in.plans[plan], prompts->tokens[i], count, progress, score);
    if (!said) return tl::unexpected(said.error());
    score.tallies.push_back({compare_continuations(*said, exact), 1, {}, "", 0, 0});
    return score;
  };
  const auto scores = score_all_plans<RecallScore>(in, prompts->tokens.size(), run);
  if (!scores) return tl::unexpected(scores.error());
  TaskResult result;
  result.interrupted = scores->interrupted;
  const RecallTask names = {
      "generate",
      '\n',
      nullptr,
      prompts->continuation,
      {{"agreement", nullptr}, {"first_divergence", nullptr}, {"identical", nullptr}}};
  if (scores->complete > 0) result.rows = recall_rows(in, names, scores->totals);
  for (auto& row : result.rows) {
    row.protocol.bos = in.options.bos;
    row.continuation = prompts->continuation;
  }
  return result;
}

}  // namespace kvkeep
