// How far a compressed cache moves the model's predictions: the Kullback-Leibler divergence of each
// next-token distribution from that on the f16 cache, for the tokens that ppl scores. It sees
// damage that perplexity averages away, and needs no right answer.
//
// The reference is read once a window, before the plans; its logits are all that is kept of it.
#include <algorithm>
#include <cmath>

#include "eval/all_plans.h"
#include "eval/nll.h"
#include "eval/windows.h"

namespace kvkeep {
namespace {

struct Score {
  std::vector<float> divergences;  // one a token
  int64_t agreed = 0;              // tokens with the same most likely prediction
  Reading reading;

  void add(const Score& other) {
    divergences.insert(divergences.end(), other.divergences.begin(), other.divergences.end());
    agreed += other.agreed;
    reading.add(other.reading);
  }
};

// The logits of every scored token of one window, one after another.
Result<std::vector<float>> reference_logits(const TaskInput& in, std::span<const int32_t> window,
                                            const ProgressFn& progress) {
  const auto plan = Plan::parse("f16");
  if (!plan) return tl::unexpected(plan.error());
  std::vector<float> all;
  all.reserve((window.size() - window.size() / 4) * static_cast<size_t>(in.model.info().vocab));
  const auto see = [&](std::span<const float> logits, int32_t) {
    all.insert(all.end(), logits.begin(), logits.end());
  };
  KVKEEP_TRY(read_window(in, *plan, window, see, progress));
  return all;
}

Result<Score> score_window(const TaskInput& in, const Plan& plan, std::span<const int32_t> window,
                           const std::vector<float>& reference, const ProgressFn& progress) {
  Score score;
  const auto see = [&](std::span<const float> logits, int32_t) {
    const std::span exact(reference.data() + score.divergences.size() * logits.size(),
                          logits.size());
    score.divergences.push_back(static_cast<float>(kl_divergence(exact, logits)));
    score.agreed += most_likely(exact) == most_likely(logits);
  };
  auto reading = read_window(in, plan, window, see, progress);
  if (!reading) return tl::unexpected(reading.error());
  score.reading = std::move(*reading);
  return score;
}

EvalRow make_row(const TaskInput& in, const Score& total, int windows) {
  auto sorted = total.divergences;
  std::sort(sorted.begin(), sorted.end());
  double sum = 0;
  for (const float x : sorted) sum += x;
  const auto n = static_cast<double>(sorted.size());
  const auto rank = static_cast<size_t>(std::ceil(0.99 * n));  // nearest rank, from 1
  return text_row(in, "kld", total.reading, windows,
                  {{"mean", sum / n},
                   {"p99", sorted[rank - 1]},
                   {"top1_agreement", static_cast<double>(total.agreed) / n},
                   {"tokens", n, true}});
}

}  // namespace

Result<TaskResult> run_kld(const TaskInput& in) {
  const auto windows = cut_windows(in, "kld");
  if (!windows) return tl::unexpected(windows.error());
  std::vector<float> reference;
  const auto run = [&](size_t window, size_t plan, const ProgressFn& progress) -> Result<Score> {
    const auto& tokens = (*windows)[window];
    if (plan > 0) return score_window(in, in.plans[plan], tokens, reference, progress);
    auto exact = reference_logits(in, tokens, unit_of(progress, 0, 2));
    if (!exact) return tl::unexpected(exact.error());
    reference = std::move(*exact);
    return score_window(in, in.plans[plan], tokens, reference, unit_of(progress, 1, 2));
  };
  const auto scores = score_all_plans<Score>(in, windows->size(), run);
  if (!scores) return tl::unexpected(scores.error());
  TaskResult result;
  result.interrupted = scores->interrupted;
  if (scores->complete > 0)
    for (const Score& score : scores->totals)
      result.rows.push_back(make_row(in, score, scores->complete));
  return result;
}

}  // namespace kvkeep
