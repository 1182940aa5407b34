#include "eval/measure.h"

#include <fmt/format.h>

#include <cmath>

#include "base/fail.h"
#include "base/rng.h"
#include "eval/part_of.h"
#include "kvkeep/session.h"

namespace kvkeep {

std::vector<int32_t> random_tokens(int vocab, int n, uint64_t seed) {
  Rng rng(seed);
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  for (auto& token : tokens) token = static_cast<int32_t>(rng.below(static_cast<uint64_t>(vocab)));
  return tokens;
}

Result<CacheReport> measure_cache(const Model& model, const Plan& plan,
                                  std::span<const int32_t> tokens, int threads,
                                  const ProgressFn& progress) {
  SessionOptions options;
  options.threads = threads;
  auto session = Session::create(model, plan, options);
  if (!session) return tl::unexpected(session.error());
  KVKEEP_TRY(session->prefill(tokens, progress));
  return session->report();
}

Result<Plan> plan_of_bytes(const std::string& preset, size_t bytes, const MeasureBytes& measure,
                           const ProgressFn& progress) {
  // Bytes rise with keep, roughly in proportion but in the steps of whole blocks: proportional
  // guesses inside a shrinking bracket, and its middle where a guess falls outside.
  constexpr int kRuns = 6;
  const auto wanted = static_cast<double>(bytes);
  double low = 0.01, high = 1, keep = 0.2, best_keep = keep, best_error = INFINITY;
  for (int i = 0; i < kRuns && best_error > 0.01 * wanted; ++i) {
    const auto plan = Plan::parse(fmt::format("{}:keep={}", preset, keep));
    if (!plan) return plan;
    const auto size = measure(*plan, unit_of(progress, i, kRuns));
    if (!size) return tl::unexpected(size.error());
    const auto found = static_cast<double>(*size);
    if (std::abs(found - wanted) < best_error) {
      best_error = std::abs(found - wanted);
      best_keep = keep;
    }
    (found < wanted ? low : high) = keep;
    double next = keep * wanted / found;
    if (!(next > low && next < high)) next = (low + high) / 2;
    keep = std::round(next * 1000) / 1000;
    if (keep <= low || keep >= high) break;
  }
  return Plan::parse(fmt::format("{}:keep={}", preset, best_keep));
}

}  // namespace kvkeep
