#include "codec/rtn.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"

namespace kvkeep {
namespace {

constexpr float kLeastScale = 0x1p-24f;  // the smallest f16 above zero
constexpr float kMost = 65504.0f;        // the largest; a transform may push a row past it

uint8_t clamp_code(float code, int top) {
  return static_cast<uint8_t>(std::lrint(std::clamp(code, 0.0f, static_cast<float>(top))));
}

void quantize_uniform(const float* x, int n, int top, uint8_t* codes, uint16_t* scale,
                      uint16_t* minimum) {
  const auto [low, high] = std::minmax_element(x, x + n);
  *minimum = f32_to_f16(std::clamp(*low, -kMost, kMost) + 0.0f);  // never -0
  *scale = f32_to_f16(std::clamp((*high - *low) / static_cast<float>(top), kLeastScale, kMost));
  const float z = f16_to_f32(*minimum), inverse = 1.0f / f16_to_f32(*scale);
  if (*high == *low) {  // a constant group is its minimum
    std::fill_n(codes, n, uint8_t{0});
    return;
  }
  for (int i = 0; i < n; ++i) codes[i] = clamp_code((x[i] - z) * inverse, top);
}

void quantize_symmetric(const float* x, int n, int bits, uint8_t* codes, uint16_t* scale) {
  const auto [low, high] = std::minmax_element(x, x + n);
  const float extreme = -*low >= *high ? *low : *high;  // of largest magnitude, with its sign
  const int zero = 1 << (bits - 1), top = (1 << bits) - 1;
  const float step = bits == 8 ? std::fabs(extreme) / 127.0f : extreme / -static_cast<float>(zero);
  *scale = f32_to_f16(std::clamp(step, -kMost, kMost) + 0.0f);
  const float rounded = f16_to_f32(*scale);
  const float inverse = rounded == 0.0f ? 0.0f : 1.0f / rounded;
  for (int i = 0; i < n; ++i) codes[i] = clamp_code(x[i] * inverse + static_cast<float>(zero), top);
}

}  // namespace

void rtn_quantize(const PartShape& shape, const float* row, RowCodes* codes) {
  const int bits = layout_bits(shape.id);
  for (int g = 0; g < shape.groups; ++g) {
    const int first = g * shape.group, n = std::min(shape.group, shape.head_dim - first);
    if (layout_kind(shape.id) == LayoutKind::uniform) {
      quantize_uniform(row + first, n, (1 << bits) - 1, codes->codes + first, &codes->scales[g],
                       &codes->minima[g]);
    } else {
      quantize_symmetric(row + first, n, bits, codes->codes + first, &codes->scales[g]);
    }
  }
}

void rtn_dequantize(const PartShape& shape, const RowCodes& codes, float* row) {
  const bool uniform = layout_kind(shape.id) == LayoutKind::uniform;
  for (int c = 0; c < shape.head_dim; ++c) {
    const int g = c / shape.group;
    const float minimum = uniform ? f16_to_f32(codes.minima[g]) : 0.0f;
    row[c] = minimum + f16_to_f32(codes.scales[g]) * code_value(shape.id, codes.codes[c]);
  }
}

}  // namespace kvkeep
