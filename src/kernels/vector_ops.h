// Kernels over plain float vectors: exp_sum, max, dot, scale, hadamard and the f16 conversions.
//
// Tails shorter than a Vec go through load_n and store_n: no kernel reads or writes past the end.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"
#include "kernels/vec.h"

namespace kvkeep::KVKEEP_TARGET {

// e^x = fraction * 2^n. x = n ln 2 + r with |r| <= ln 2 / 2; the fraction is a degree-6 Taylor-like
// polynomial for e^r (minimax coefficients).
struct ExpParts {
  Vec fraction, n;
};
inline constexpr float kRounds = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
inline ExpParts exp_parts(Vec x) {
  const Vec magic = set(kRounds);
  const Vec n = mul_add(x, set(1.44269504f), magic) - magic;
  const Vec r = mul_add(n, set(2.12194440e-4f), mul_add(n, set(-0.693359375f), x));
  Vec p = set(1.0f / 720);
  p = mul_add(p, r, set(1.0f / 120));
  p = mul_add(p, r, set(1.0f / 24));
  p = mul_add(p, r, set(1.0f / 6));
  p = mul_add(p, r, set(0.5f));
  p = mul_add(p, r, set(1.0f));
  p = mul_add(p, r, set(1.0f));
  return {p, n};
}

// exp(x), relative error below 2e-7 plus the rounding of x; 0 below -104, infinity above 89. 2^n
// comes in two factors so that subnormal results round instead of vanishing.
inline Vec exp(Vec x) {
  const ExpParts e = exp_parts(min(set(89.0f), max(set(-104.0f), x)));
  const Vec half = mul_add(e.n, set(0.5f), set(kRounds)) - set(kRounds);
  return e.fraction * pow2(half) * pow2(e.n - half);
}

// exp(x) for x <= 0, relative error below 2e-7; what is below -87 gives 2^-126.
inline Vec exp_negative(Vec x) {
  const ExpParts e = exp_parts(max(set(-87.0f), x));
  return times_pow2(e.fraction, e.n);
}

inline float exp_sum(float* x, int n, float max_value) {
  const Vec shift = set(max_value);
  Vec sum = set(0.0f);
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vec e = exp(load(x + i) - shift);
    store(x + i, e);
    sum = sum + e;
  }
  if (i < n) {
    const Vec e = exp(load_n(x + i, n - i, -__builtin_inff()) - shift);
    store_n(x + i, e, n - i);
    sum = sum + load_n(x + i, n - i);
  }
  return reduce_sum(sum);
}

// The largest of x[n], lane by lane.
inline Vec max_lanes(const float* x, int n) {
  const float lowest = -__builtin_inff();
  Vec best = set(lowest);
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) best = max(best, load(x + i));
  if (i < n) best = max(best, load_n(x + i, n - i, lowest));
  return best;
}

inline float max_of(const float* x, int n) { return reduce_max(max_lanes(x, n)); }

// to[h] = fold of the lanes of a[h], four heads a step; a and to have room for whole steps.
inline void reduce_sums(const Vec* a, int heads, float* to) {
  for (int h = 0; h < heads; h += 4) reduce_sum4(a + h, to + h);
}
inline void reduce_maxima(const Vec* a, int heads, float* to) {
  for (int h = 0; h < heads; h += 4) reduce_max4(a + h, to + h);
}

// x[n] = exp(x - top) for x <= top; returns the sum lane by lane.
inline Vec exp_lanes(float* x, int n, float top) {
  const Vec shift = set(top);
  Vec sum = set(0.0f);
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vec e = exp_negative(load(x + i) - shift);
    store(x + i, e);
    sum = sum + e;
  }
  if (i < n) {
    store_n(x + i, exp_negative(load_n(x + i, n - i, top) - shift), n - i);
    sum = sum + load_n(x + i, n - i);
  }
  return sum;
}

inline void softmax_step(float* x, int stride, int n, int heads, float* maxima, float* sums,
                         float* factors) {
  Vec lanes[kMaxKernelHeads];
  float folded[kMaxKernelHeads];
  for (Vec& lane : lanes) lane = set(0.0f);
  for (int h = 0; h < heads; ++h) lanes[h] = max_lanes(x + h * stride, n);
  reduce_maxima(lanes, heads, folded);
  for (int h = 0; h < heads; ++h) {
    factors[h] = 1.0f;
    if (folded[h] > maxima[h]) {
      float shrink[kLanes];
      store(shrink, exp_negative(set(maxima[h] - folded[h])));
      if (sums[h] > 0.0f) factors[h] = shrink[0];
      maxima[h] = folded[h];
    }
    lanes[h] = exp_lanes(x + h * stride, n, maxima[h]);
  }
  reduce_sums(lanes, heads, folded);
  for (int h = 0; h < heads; ++h) sums[h] = sums[h] * factors[h] + folded[h];
}

inline float dot(const float* a, const float* b, int n) {
  Vec sums[4] = {set(0.0f), set(0.0f), set(0.0f), set(0.0f)};
  int i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes)
    for (int j = 0; j < 4; ++j)
      sums[j] = mul_add(load(a + i + j * kLanes), load(b + i + j * kLanes), sums[j]);
  for (; i + kLanes <= n; i += kLanes) sums[0] = mul_add(load(a + i), load(b + i), sums[0]);
  if (i < n) sums[1] = mul_add(load_n(a + i, n - i), load_n(b + i, n - i), sums[1]);
  return reduce_sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

inline float sum(const float* x, int n) {
  Vec sums[4] = {set(0.0f), set(0.0f), set(0.0f), set(0.0f)};
  int i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes)
    for (int j = 0; j < 4; ++j) sums[j] = sums[j] + load(x + i + j * kLanes);
  for (; i + kLanes <= n; i += kLanes) sums[0] = sums[0] + load(x + i);
  if (i < n) sums[1] = sums[1] + load_n(x + i, n - i);
  return reduce_sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

inline void scale(float* x, int n, float factor) {
  const Vec f = set(factor);
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) store(x + i, load(x + i) * f);
  for (; i < n; ++i) x[i] *= factor;
}

inline void add_scaled(const float* x, int n, float factor, float* y) {
  const Vec f = set(factor);
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, load(y + i) + f * load(x + i));
  for (; i < n; ++i) y[i] += factor * x[i];
}

// One block; every ISA adds in the same order, so that results are equal bit for bit.
inline void hadamard_block(float* x, int size) {
  int half = 1;
  if (size >= kLanes) {
    for (int i = 0; i < size; i += kLanes) store(x + i, hadamard_lanes(load(x + i)));
    half = kLanes;
  }
  for (; half < size; half *= 2)
    for (int start = 0; start < size; start += 2 * half) {
      float *low = x + start, *high = low + half;
      for (int i = 0; i < half; ++i) {
        if (half >= kLanes) {
          const Vec a = load(low + i), b = load(high + i);
          store(low + i, a + b);
          store(high + i, a - b);
          i += kLanes - 1;
        } else {
          const float a = low[i], b = high[i];
          low[i] = a + b;
          high[i] = a - b;
        }
      }
    }
  scale(x, size, 1.0f / __builtin_sqrtf(static_cast<float>(size)));
}

inline void hadamard(float* rows, int count, int stride, int dim, int size) {
  for (int row = 0; row < count; ++row)
    for (int d = 0; d < dim; d += size)
      hadamard_block(rows + static_cast<ptrdiff_t>(row) * stride + d, size);
}

inline void f16_to_f32_n(const uint16_t* in, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, load_f16(in + i));
  if (i == n) return;
  const int left = static_cast<int>(n - i);
  store_n(out + i, load_f16_n(in + i, left), left);
}

inline void f32_to_f16_n(const float* in, uint16_t* out, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store_f16(out + i, load(in + i));
  if (i == n) return;
  uint16_t words[kLanes];
  store_f16(words, load_n(in + i, static_cast<int>(n - i)));
  __builtin_memcpy(out + i, words, static_cast<size_t>(n - i) * sizeof words[0]);
}

inline uint64_t read_sum(const std::byte* data, size_t bytes) {
  constexpr size_t kLine = 64, kAhead = 4096;  // gains a little on what the processor fetches alone
  Words sum = {};
  for (size_t line = 0; line < bytes; line += kLine) {
    prefetch(data + line + kAhead);
    for (size_t at = 0; at < kLine; at += sizeof(Words)) sum = sum + load_int64(data + line + at);
  }
  return reduce_sum(sum);
}

}  // namespace kvkeep::KVKEEP_TARGET
