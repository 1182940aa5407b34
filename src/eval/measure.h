// What plans cost in bytes, measured on a cache that holds real rows rather than computed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kvkeep/model.h"
#include "kvkeep/plan.h"
#include "kvkeep/progress.h"
#include "kvkeep/report.h"
#include "kvkeep/session.h"

namespace kvkeep {

// n token ids, the same for the same seed.
std::vector<int32_t> random_tokens(int vocab, int n, uint64_t seed);

// The cache after a prefill of the tokens under a plan.
Result<CacheReport> measure_cache(const Model& model, const Plan& plan,
                                  std::span<const int32_t> tokens, const SessionOptions& options,
                                  const ProgressFn& progress = {});

}  // namespace kvkeep
