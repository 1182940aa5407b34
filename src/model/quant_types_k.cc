// ggml's super-blocks of 256 values: sub-blocks with their own small integer scale (and minimum)
// under one or two f16 factors.
#include "model/quant_types.h"

namespace kvkeep {
namespace {

// q4_k and q5_k: eight 6-bit scales and eight 6-bit minima in 12 bytes. The first four of each lie
// in the low six bits of bytes 0-3 and 4-7; the other four have their low half in bytes 8-11 and
// their top two bits above the first four.
struct ScaleMin {
  float scale[8], minimum[8];
};

ScaleMin unpack_scales(const std::byte* in) {
  const float d = load_f16(in), d_min = load_f16(in + 2);
  const std::byte* packed = in + 4;
  const auto byte = [&](int i) { return static_cast<int>(packed[i]); };
  ScaleMin result;
  for (int i = 0; i < 4; ++i) {
    const int scale_high = (byte(i + 8) & 15) | (byte(i) >> 6 << 4);
    const int minimum_high = (byte(i + 8) >> 4) | (byte(i + 4) >> 6 << 4);
    result.scale[i] = d * static_cast<float>(byte(i) & 63);
    result.minimum[i] = d_min * static_cast<float>(byte(i + 4) & 63);
    result.scale[i + 4] = d * static_cast<float>(scale_high);
    result.minimum[i + 4] = d_min * static_cast<float>(minimum_high);
  }
  return result;
}

}  // namespace

// Nibbles: 32 bytes hold sub-block 2c in their low halves and 2c + 1 in their high halves.
void dequantize_q4_k(const std::byte* in, float* out) {
  const ScaleMin s = unpack_scales(in);
  const std::byte* nibbles = in + 16;
  for (int block = 0; block < 8; ++block)
    for (int i = 0; i < 32; ++i) {
      const int code = static_cast<int>(nibbles[block / 2 * 32 + i]) >> block % 2 * 4 & 15;
      out[block * 32 + i] = s.scale[block] * static_cast<float>(code) - s.minimum[block];
    }
}

// As q4_k, with the fifth bit of sub-block b in bit b of 32 bytes before the nibbles.
void dequantize_q5_k(const std::byte* in, float* out) {
  const ScaleMin s = unpack_scales(in);
  const std::byte *fifth = in + 16, *nibbles = in + 48;
  for (int block = 0; block < 8; ++block)
    for (int i = 0; i < 32; ++i) {
      const int low = static_cast<int>(nibbles[block / 2 * 32 + i]) >> block % 2 * 4 & 15;
      const int code = low | (static_cast<int>(fifth[i]) >> block & 1) << 4;
      out[block * 32 + i] = s.scale[block] * static_cast<float>(code) - s.minimum[block];
    }
}

// 128 bytes of low halves, 64 of upper bit pairs, 16 signed scales (of 16 values), f16 factor. Each
// half of 128 values is four rows of 32: rows 0, 1 the low and 2, 3 the high nibbles of 64 bytes.
void dequantize_q6_k(const std::byte* in, float* out) {
  const std::byte *low = in, *high = in + 128, *scales = in + 192;
  const float d = load_f16(in + 208);
  for (int value = 0; value < 256; ++value) {
    const int half = value / 128, row = value % 128 / 32, i = value % 32;
    const int nibble = static_cast<int>(low[half * 64 + row % 2 * 32 + i]) >> row / 2 * 4 & 15;
    const int pair = static_cast<int>(high[half * 32 + i]) >> row * 2 & 3;
    const float scale = d * static_cast<float>(static_cast<int8_t>(scales[value / 16]));
    out[value] = scale * static_cast<float>((nibble | pair << 4) - 32);
  }
}

}  // namespace kvkeep
