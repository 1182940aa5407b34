// IEEE half (f16) and bfloat16 as 16-bit words: portable conversions, the specification that
// vector code is compared with. Rounding is to nearest even; f16 overflow gives infinity.
#pragma once

#include <bit>
#include <cstdint>

namespace kvkeep {

using F16 = uint16_t;
using BF16 = uint16_t;

inline float f16_to_f32(F16 h) {
  const uint32_t sign = (h & 0x8000u) << 16;
  const uint32_t exponent = (h >> 10) & 0x1fu;
  const uint32_t mantissa = h & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

inline F16 f32_to_f16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<F16>(sign | 0x7e00u);   // NaN
  if (magnitude >= 0x477ff000u) return static_cast<F16>(sign | 0x7c00u);  // rounds past 65504
  if (magnitude < 0x38800000u) {  // result is subnormal or zero: let the adder round
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<F16>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
  }
  const uint32_t odd = (magnitude >> 13) & 1u;
  return static_cast<F16>(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
}

// The f16 next to x towards zero or away from it, the likelier the nearer: a sum kept in f16 may
// grow by far less than one step and still grows on average. `noise` is any well mixed word, of
// which the upper 13 bits count; what is beyond 65504, and NaN, becomes 65504 with its sign.
inline F16 f32_to_f16_at_random(float x, uint32_t noise) {
  constexpr uint32_t kMost = 0x477fe000u, kLeastNormal = 0x38800000u;  // 65504, 2^-14
  const uint32_t bits = std::bit_cast<uint32_t>(x), part = noise >> 19;
  const auto sign = static_cast<F16>((bits >> 16) & 0x8000u);
  uint32_t size = bits & 0x7fffffffu;
  if (size > kMost) size = kMost;
  if (size >= kLeastNormal) return static_cast<F16>(sign | ((size + part - 0x38000000u) >> 13));
  const float steps = std::bit_cast<float>(size) * 0x1p24f + static_cast<float>(part) * 0x1p-13f;
  return static_cast<F16>(sign | static_cast<F16>(steps));
}
// Noise of values in a row: one word, and steps that spread evenly over all words.
inline constexpr uint32_t kNoiseStep = 0x9e3779b9u;

inline float bf16_to_f32(BF16 b) { return std::bit_cast<float>(static_cast<uint32_t>(b) << 16); }

inline BF16 f32_to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<BF16>((bits >> 16) | 0x40u);  // NaN
  return static_cast<BF16>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace kvkeep
