// y = W x for weights in f16, bf16 and q8_0: one pass over W, whose bytes bound the speed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/vector_ops.h"

namespace kvkeep::KVKEEP_TARGET {

struct F16Weights {
  static Vec load(const uint16_t* p) { return load_f16(p); }
};
struct Bf16Weights {
  static Vec load(const uint16_t* p) { return load_bf16(p); }
};

inline constexpr int kAheadBytes = 4096;  // fetched before they are needed, as in read_sum

// Eight sums, more than an FMA's latency needs, keep enough loads in flight to stream from memory.
template <class Weights>
float dot_words(const uint16_t* w, const float* x, int64_t n) {
  constexpr int kSums = 8;
  Vec sums[kSums];
  for (Vec& sum : sums) sum = set(0.0f);
  int64_t j = 0;
  for (; j + kSums * kLanes <= n; j += kSums * kLanes) {
    for (int i = 0; i < kSums * kLanes; i += 32) prefetch(w + j + i + kAheadBytes / 2);
    for (int i = 0; i < kSums; ++i)
      sums[i] = mul_add(Weights::load(w + j + i * kLanes), load(x + j + i * kLanes), sums[i]);
  }
  for (; j + kLanes <= n; j += kLanes)
    sums[0] = mul_add(Weights::load(w + j), load(x + j), sums[0]);
  if (j < n) {
    uint16_t words[kLanes] = {};
    __builtin_memcpy(words, w + j, static_cast<size_t>(n - j) * sizeof words[0]);
    sums[1] = mul_add(Weights::load(words), load_n(x + j, static_cast<int>(n - j)), sums[1]);
  }
  for (int step = kSums / 2; step > 0; step /= 2)
    for (int i = 0; i < step; ++i) sums[i] = sums[i] + sums[i + step];
  return reduce_sum(sums[0]);
}

template <class Weights>
void gemv_words(const void* w, const float* x, float* y, int64_t m, int64_t n) {
  const auto* row = static_cast<const uint16_t*>(w);
  for (int64_t i = 0; i < m; ++i, row += n) y[i] = dot_words<Weights>(row, x, n);
}

inline constexpr int kQ8Values = 32, kQ8Bytes = 34;

// The sum of one block, unscaled, kept in lanes.
inline Vec dot_q8_block(const int8_t* q, const float* x) {
  Vec sum = load_i8(q) * load(x);
  for (int i = kLanes; i < kQ8Values; i += kLanes) sum = mul_add(load_i8(q + i), load(x + i), sum);
  return sum;
}

inline Vec q8_scale(const uint8_t* block) {
  uint16_t word;
  __builtin_memcpy(&word, block, 2);
  return set_f16(word);
}

inline void gemv_q8_0(const void* w, const float* x, float* y, int64_t m, int64_t n) {
  const auto* block = static_cast<const uint8_t*>(w);
  for (int64_t i = 0; i < m; ++i) {
    Vec sums[2] = {set(0.0f), set(0.0f)};
    for (int64_t j = 0; j < n; j += kQ8Values, block += kQ8Bytes) {
      prefetch(block + kAheadBytes);
      Vec& sum = sums[j / kQ8Values % 2];
      const auto* q = reinterpret_cast<const int8_t*>(block + 2);
      sum = mul_add(q8_scale(block), dot_q8_block(q, x + j), sum);
    }
    y[i] = reduce_sum(sums[0] + sums[1]);
  }
}

}  // namespace kvkeep::KVKEEP_TARGET
