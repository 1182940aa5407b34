#include "eval/measure.h"

#include <fmt/format.h>

#include <algorithm>
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
  // Bytes are nearly linear in keep: two points, then corrections on the line through the last two.
  constexpr int kRuns = 5;
  double keeps[kRuns] = {0.1, 0.3}, sizes[kRuns] = {};
  const auto wanted = static_cast<double>(bytes);
  const auto error = [&](int i) { return std::abs(sizes[i] - wanted); };
  const auto plan_of = [&](int i) {
    return Plan::parse(fmt::format("{}:keep={}", preset, keeps[i]));
  };
  int best = 0;
  for (int i = 0; i < kRuns && (i == 0 || error(best) > 0.01 * wanted); ++i) {
    if (i >= 2) {
      const double slope = (sizes[i - 1] - sizes[i - 2]) / (keeps[i - 1] - keeps[i - 2]);
      if (!(slope > 0)) break;
      const double keep = keeps[i - 1] + (wanted - sizes[i - 1]) / slope;
      keeps[i] = std::round(std::clamp(keep, 0.01, 1.0) * 1000) / 1000;
      if (keeps[i] == keeps[i - 1]) break;
    }
    const auto plan = plan_of(i);
    if (!plan) return plan;
    const auto size = measure(*plan, unit_of(progress, i, kRuns));
    if (!size) return tl::unexpected(size.error());
    sizes[i] = static_cast<double>(*size);
    if (error(i) < error(best)) best = i;
  }
  return plan_of(best);
}

}  // namespace kvkeep
