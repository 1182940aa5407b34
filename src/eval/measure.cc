#include "eval/measure.h"

#include "base/fail.h"
#include "base/rng.h"

namespace kvkeep {

std::vector<int32_t> random_tokens(int vocab, int n, uint64_t seed) {
  Rng rng(seed);
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  for (auto& token : tokens) token = static_cast<int32_t>(rng.below(static_cast<uint64_t>(vocab)));
  return tokens;
}

Result<CacheReport> measure_cache(const Model& model, const Plan& plan,
                                  std::span<const int32_t> tokens, const SessionOptions& options,
                                  const ProgressFn& progress) {
  auto session = Session::create(model, plan, options);
  if (!session) return tl::unexpected(session.error());
  KVKEEP_TRY(session->prefill(tokens, progress));
  return session->report();
}

}  // namespace kvkeep
