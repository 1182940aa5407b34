// Perplexity on a compressed cache, read as windows.h says.
#include <cmath>

#include "eval/all_plans.h"
#include "eval/nll.h"
#include "eval/windows.h"

namespace kvkeep {
namespace {

struct Score {
  double nll = 0;
  Reading reading;

  void add(const Score& other) {
    nll += other.nll;
    reading.add(other.reading);
  }
};

Result<Score> score_window(const TaskInput& in, const Plan& plan, std::span<const int32_t> window,
                           const ProgressFn& progress) {
  Score score;
  const auto see = [&](auto logits, int32_t token) { score.nll += token_nll(logits, token); };
  auto reading = read_window(in, plan, window, see, progress);
  if (!reading) return tl::unexpected(reading.error());
  score.reading = std::move(*reading);
  return score;
}

EvalRow make_row(const TaskInput& in, const Score& total, int windows) {
  const auto tokens = static_cast<double>(total.reading.tokens);
  const double nll = total.nll / tokens;
  return text_row(in, "ppl", total.reading, windows,
                  {{"ppl", std::exp(nll)}, {"nll", nll}, {"tokens", tokens, true}});
}

}  // namespace

Result<TaskResult> run_ppl(const TaskInput& in) {
  const auto windows = cut_windows(in, "ppl");
  if (!windows) return tl::unexpected(windows.error());
  const auto run = [&](size_t window, size_t plan, const ProgressFn& progress) {
    return score_window(in, in.plans[plan], (*windows)[window], progress);
  };
  return rows_of_all_plans<Score>(in, windows->size(), run, make_row);
}

}  // namespace kvkeep
