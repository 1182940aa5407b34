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

Result<Plan> plan_of_bytes(const Model& model, const std::string& preset, size_t bytes,
                           std::span<const int32_t> tokens, int threads,
                           const ProgressFn& progress) {
  // Bytes are nearly linear in keep: two points and two corrections of the line through the last
  // two.
  constexpr int kPrefills = 4;
  double keeps[kPrefills] = {0.1, 0.3}, sizes[kPrefills] = {};
  int best = 0;
  for (int i = 0; i < kPrefills; ++i) {
    if (i >= 2) {
      const double slope = (sizes[i - 1] - sizes[i - 2]) / (keeps[i - 1] - keeps[i - 2]);
      if (!(slope > 0)) break;
      const double keep = keeps[i - 1] + (static_cast<double>(bytes) - sizes[i - 1]) / slope;
      keeps[i] = std::round(std::clamp(keep, 0.01, 1.0) * 1000) / 1000;
      if (keeps[i] == keeps[i - 1]) break;
    }
    const auto plan = Plan::parse(fmt::format("{}:keep={}", preset, keeps[i]));
    if (!plan) return plan;
    const auto report =
        measure_cache(model, *plan, tokens, threads, unit_of(progress, i, kPrefills));
    if (!report) return tl::unexpected(report.error());
    sizes[i] = static_cast<double>(report->bytes);
    const auto error = [&](int k) { return std::abs(sizes[k] - static_cast<double>(bytes)); };
    if (error(i) < error(best)) best = i;
    if (error(best) < 0.01 * static_cast<double>(bytes)) break;
  }
  return Plan::parse(fmt::format("{}:keep={}", preset, keeps[best]));
}

}  // namespace kvkeep
