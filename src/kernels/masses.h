// Attention mass on its way into the scores of a block: the weights of all heads are brought to the
// whole softmax, added up, added to the f16 scores and rounded at random, in one pass.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"
#include "kernels/vec.h"

namespace kvkeep::KVKEEP_TARGET {

// Products and sums round one by one and in order of the heads: the same bits everywhere.
template <class Load>
inline Vec grown(const MassRows& given, Vec score, float fade, const Load& load_weights) {
  Vec mass = set(0.0f);
  for (int h = 0; h < given.heads; ++h)
    mass = mass + set(given.factors[h]) * load_weights(given.weights + h * kBlockTokens);
  return set(fade) * score + mass;
}

inline void add_masses(const MassRows& given, int n, float fade, uint32_t noise, uint16_t* scores,
                       const void* ahead) {
  prefetch(ahead);
  prefetch(static_cast<const std::byte*>(ahead) + kBlockTokens);  // 64 scores are two lines
  int t = 0;
  for (; t + kLanes <= n; t += kLanes) {
    const auto at = [t](const float* row) { return load(row + t); };
    store_f16_at_random(scores + t, grown(given, load_f16(scores + t), fade, at),
                        noise + static_cast<uint32_t>(t) * kNoiseStep);
  }
  if (t == n) return;
  const int left = n - t;
  const auto at = [t, left](const float* row) { return load_n(row + t, left); };
  uint16_t words[kLanes];
  store_f16_at_random(words, grown(given, load_f16_n(scores + t, left), fade, at),
                      noise + static_cast<uint32_t>(t) * kNoiseStep);
  for (int i = 0; i < left; ++i) scores[t + i] = words[i];
}

}  // namespace kvkeep::KVKEEP_TARGET
