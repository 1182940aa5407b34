// planes.h as plain loops over words, which compilers turn into vector code; included once per ISA,
// after above(x, threshold): the bits of 32 words of x.
#pragma once

#include <cstdint>

#include "kernels/planes.h"

namespace kvkeep::KVKEEP_TARGET {

inline constexpr int kHammingStep = 8;     // words counted together
inline constexpr int kHammingDigits = 16;  // at most

inline void bits_above(const uint16_t* x, int n, uint16_t threshold, uint64_t* bits) {
  for (; n >= 64; n -= 64, x += 64) *bits++ = above(x, threshold) | above(x + 32, threshold) << 32;
  if (n <= 0) return;
  *bits = 0;
  for (int i = 0; i < n; ++i)
    *bits |= uint64_t{static_cast<int16_t>(x[i]) > static_cast<int16_t>(threshold)} << i;
}

inline int digits_of(int n) { return 32 - __builtin_clz(static_cast<unsigned>(n)); }

// Adding a plane is a ripple of carries over the digits that the count so far may have.
inline void hamming_digits(const uint64_t* planes, int heads, int words, const uint8_t* anchor,
                           uint64_t* out) {
  for (int first = 0; first < words; first += kHammingStep) {
    const int n = words - first < kHammingStep ? words - first : kHammingStep;
    uint64_t digits[kHammingDigits][kHammingStep] = {};
    for (int h = 0; h < heads; ++h) {
      const uint64_t* plane = planes + static_cast<int64_t>(h) * words + first;
      const uint64_t flip = anchor[h] ? ~uint64_t{0} : 0;
      uint64_t carry[kHammingStep] = {};
      if (n == kHammingStep)
        for (int w = 0; w < kHammingStep; ++w) carry[w] = plane[w] ^ flip;
      else
        for (int w = 0; w < n; ++w) carry[w] = plane[w] ^ flip;
      for (int d = 0, last = digits_of(h + 1); d < last; ++d)
        for (int w = 0; w < kHammingStep; ++w) {
          const uint64_t both = digits[d][w] & carry[w];
          digits[d][w] ^= carry[w];
          carry[w] = both;
        }
    }
    for (int d = 0; d < digits_of(heads); ++d)
      for (int w = 0; w < n; ++w) out[static_cast<int64_t>(d) * words + first + w] = digits[d][w];
  }
}

inline void hamming_match(const uint64_t* digits, int count, int words, int distance,
                          const uint64_t* among, uint64_t* match, uint8_t* bits) {
  for (int w = 0; w < words; ++w) match[w] = among[w];
  for (int d = 0; d < count; ++d) {
    const uint64_t* digit = digits + static_cast<int64_t>(d) * words;
    const uint64_t flip = distance >> d & 1 ? 0 : ~uint64_t{0};
    for (int w = 0; w < words; ++w) match[w] &= digit[w] ^ flip;
  }
  for (int w = 0; w < words; ++w) bits[w] = static_cast<uint8_t>(__builtin_popcountll(match[w]));
}

}  // namespace kvkeep::KVKEEP_TARGET
