// Dequantization of ggml's super-block types (256 values each): see quant_types.cc for the rest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/half.h"

namespace kvkeep {

// Bytes need no alignment: a 16-bit float at `in`.
inline float load_f16(const std::byte* in) {
  F16 h;
  std::memcpy(&h, in, sizeof h);
  return f16_to_f32(h);
}

// One block of 256 values each.
void dequantize_q4_k(const std::byte* in, float* out);
void dequantize_q5_k(const std::byte* in, float* out);
void dequantize_q6_k(const std::byte* in, float* out);

}  // namespace kvkeep
