// How far a compressed cache moves the model's predictions: the Kullback-Leibler divergence of each
// next-token distribution from that on the f16 cache, for the tokens that ppl scores. It sees
// damage that perplexity averages away, and needs no right answer.
//
// The reference is read once a window, before the plans, or comes from a file that an earlier run
// wrote (options.kld_ref, kld_save).
#include <xxhash.h>

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "eval/all_plans.h"
#include "eval/nll.h"
#include "eval/predictions.h"
#include "eval/tally.h"
#include "eval/windows.h"

namespace kvkeep {
namespace {

struct Score {
  std::vector<float> divergences;  // one a token
  std::vector<double> stretches;   // their means
  int64_t agreed = 0;              // tokens with the same most likely prediction
  Reading reading;

  void add(const Score& other) {
    divergences.insert(divergences.end(), other.divergences.begin(), other.divergences.end());
    stretches.insert(stretches.end(), other.stretches.begin(), other.stretches.end());
    agreed += other.agreed;
    reading.add(other.reading);
  }
};

PredictionsKey key_of(const TaskInput& in, const Windows& windows) {
  PredictionsKey key{
      in.model.info().fingerprint, 0, in.options.context, in.options.step, in.options.bos,
      in.model.info().vocab};
  for (const auto& window : windows)
    key.text = XXH64(window.data(), window.size() * sizeof window[0], key.text);
  return key;
}

Result<Predictions> read_reference(const TaskInput& in, std::span<const int32_t> window,
                                   const ProgressFn& progress) {
  const auto plan = Plan::parse("f16");
  if (!plan) return tl::unexpected(plan.error());
  Predictions exact;
  const auto see = [&](std::span<const float> logits, int32_t) { exact.add(logits); };
  KVKEEP_TRY(read_window(in, *plan, window, see, progress));
  return exact;
}

Result<Score> score_window(const TaskInput& in, const Plan& plan, std::span<const int32_t> window,
                           const Predictions& exact, const ProgressFn& progress) {
  Score score;
  const auto see = [&](std::span<const float> logits, int32_t) {
    const size_t i = score.divergences.size();
    score.divergences.push_back(static_cast<float>(exact.divergence(i, logits)));
    score.agreed += exact.row(i).likely[0].token == most_likely(logits);
  };
  auto reading = read_window(in, plan, window, see, progress);
  if (!reading) return tl::unexpected(reading.error());
  score.reading = std::move(*reading);
  score.stretches = stretch_means(score.divergences);
  return score;
}

EvalRow make_row(const TaskInput& in, const Score& total, int windows) {
  auto sorted = total.divergences;
  std::sort(sorted.begin(), sorted.end());
  double sum = 0;
  for (const float x : sorted) sum += x;
  const auto n = static_cast<double>(sorted.size());
  const auto rank = static_cast<size_t>(std::ceil(0.99 * n));  // nearest rank, from 1
  const double agreement = static_cast<double>(total.agreed) / n;
  auto row = text_row(in, "kld", total.reading, windows,
                      {{"mean", sum / n},
                       {"p99", sorted[rank - 1]},
                       {"top1_agreement", agreement},
                       {"top1_changed", 1 - agreement},
                       {"tokens", n, true}});
  row.metrics[0].interval = mean_interval(total.stretches, in.options.seed);
  row.units = total.stretches;
  return row;
}

// The references of all windows read so far, or of all windows if they come from a file; without
// either file only the last one is kept.
class References {
 public:
  static Result<References> make(const TaskInput& in, const Windows& windows) {
    References all;
    all.key_ = key_of(in, windows);
    all.keep_ = !in.options.kld_save.empty();
    if (in.options.kld_ref.empty()) return all;
    auto loaded = load_predictions(in.options.kld_ref, all.key_);
    if (!loaded) return tl::unexpected(loaded.error());
    all.windows_ = std::move(*loaded);
    for (size_t i = 0; i < windows.size(); ++i)
      if (i >= all.windows_.size() ||
          all.windows_[i].size() != windows[i].size() - windows[i].size() / 4)
        return bad_input("'{}' is no sound reference of task kld", in.options.kld_ref);
    return all;
  }

  bool has(size_t window) const { return window < windows_.size(); }
  const Predictions& of(size_t window) const { return windows_[window]; }
  void add(Predictions exact) {
    if (!keep_ && !windows_.empty()) windows_.back() = {};
    windows_.push_back(std::move(exact));
  }
  Result<void> save(const std::string& path) const {
    return save_predictions(path, key_, windows_);
  }

 private:
  std::vector<Predictions> windows_;
  PredictionsKey key_;
  bool keep_ = false;
};

}  // namespace

Result<TaskResult> run_kld(const TaskInput& in) {
  const auto windows = cut_windows(in, "kld");
  if (!windows) return tl::unexpected(windows.error());
  auto references = References::make(in, *windows);
  if (!references) return tl::unexpected(references.error());
  const auto run = [&](size_t window, size_t plan, const ProgressFn& progress) -> Result<Score> {
    const auto& tokens = (*windows)[window];
    if (references->has(window))
      return score_window(in, in.plans[plan], tokens, references->of(window), progress);
    auto exact = read_reference(in, tokens, unit_of(progress, 0, 2));
    if (!exact) return tl::unexpected(exact.error());
    references->add(std::move(*exact));
    return score_window(in, in.plans[plan], tokens, references->of(window),
                        unit_of(progress, 1, 2));
  };
  auto result = rows_of_all_plans<Score>(in, windows->size(), run, make_row);
  if (result && !result->interrupted && !in.options.kld_save.empty())
    KVKEEP_TRY(references->save(in.options.kld_save));
  return result;
}

}  // namespace kvkeep
