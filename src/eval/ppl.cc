// Perplexity on a compressed cache, read as windows.h says.
#include <algorithm>
#include <cmath>

#include "eval/all_plans.h"
#include "eval/nll.h"
#include "eval/tally.h"
#include "eval/windows.h"

namespace kvkeep {
namespace {

struct Score {
  double nll = 0;                 // of all tokens
  std::vector<double> stretches;  // their means
  Reading reading;

  void add(const Score& other) {
    nll += other.nll;
    stretches.insert(stretches.end(), other.stretches.begin(), other.stretches.end());
    reading.add(other.reading);
  }
};

Result<Score> score_window(const TaskInput& in, const Plan& plan, std::span<const int32_t> window,
                           const ProgressFn& progress) {
  Score score;
  std::vector<float> of_tokens;
  const auto see = [&](auto logits, int32_t token) {
    const double nll = token_nll(logits, token);
    score.nll += nll;
    of_tokens.push_back(static_cast<float>(nll));
  };
  auto reading = read_window(in, plan, window, see, progress);
  if (!reading) return tl::unexpected(reading.error());
  score.stretches = stretch_means(of_tokens);
  score.reading = std::move(*reading);
  return score;
}

EvalRow make_row(const TaskInput& in, const Score& total, int windows) {
  const auto tokens = static_cast<double>(total.reading.tokens);
  const double nll = total.nll / tokens;
  auto row = text_row(in, "ppl", total.reading, windows,
                      {{"ppl", std::exp(nll)}, {"nll", nll}, {"tokens", tokens, true}});
  const auto [low, high] = mean_interval(total.stretches, in.options.seed);
  row.metrics[0].interval = {std::exp(low), std::exp(high)};
  row.metrics[1].interval = {low, high};
  row.units = total.stretches;
  return row;
}

// The interval of each row's nll above that of the f16 cache on the same stretches.
void compare_with_f16(uint64_t seed, std::vector<EvalRow>* rows) {
  const auto f16 = Plan::parse("f16");
  const auto exact = std::find_if(rows->begin(), rows->end(), [&](const EvalRow& row) {
    return f16 && row.cache.plan == f16->canonical();
  });
  if (exact == rows->end()) return;
  for (EvalRow& row : *rows) {
    std::vector<double> above = row.units;
    for (size_t i = 0; i < above.size(); ++i) above[i] -= exact->units[i];
    row.metrics[1].vs_f16 = mean_interval(above, seed);
  }
}

}  // namespace

Result<TaskResult> run_ppl(const TaskInput& in) {
  const auto windows = cut_windows(in, "ppl");
  if (!windows) return tl::unexpected(windows.error());
  const auto run = [&](size_t window, size_t plan, const ProgressFn& progress) {
    return score_window(in, in.plans[plan], (*windows)[window], progress);
  };
  auto result = rows_of_all_plans<Score>(in, windows->size(), run, make_row);
  if (result) compare_with_f16(in.options.seed, &result->rows);
  return result;
}

}  // namespace kvkeep
