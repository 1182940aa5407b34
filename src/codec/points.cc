#include "codec/points.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/half.h"
#include "codec/grid.h"

namespace kvkeep {
namespace {

float root_mean_square(const float* x, int n) {
  float lanes[16] = {};
  for (int i = 0; i < n; ++i) lanes[i % 16] += x[i] * x[i];
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return std::sqrt(lanes[0] / static_cast<float>(n));
}

// By floor(2 * place): midpoints between points, doubled, are whole numbers.
uint8_t nearest_code(const CodebookPoints& book, int codes, int twice_place) {
  int code = 0;
  while (code + 1 < codes && book.points[code] + book.points[code + 1] <= twice_place) ++code;
  return static_cast<uint8_t>(code);
}

}  // namespace

void points_quantize(const PartShape& shape, const float* row, RowCodes* codes) {
  const CodebookPoints book = codebook_points(shape.id);
  const auto top = static_cast<float>(book.top);
  for (int g = 0; g < shape.groups; ++g) {
    const int first = g * shape.group, n = std::min(shape.group, shape.head_dim - first);
    const float rms = root_mean_square(row + first, n);
    codes->scales[g] = f32_to_f16(std::min(rms / book.per_sigma, 65504.0f));
    const float scale = f16_to_f32(codes->scales[g]);
    const float factor = scale > 0.0f ? 2.0f / scale : 0.0f;
    for (int i = first; i < first + n; ++i) {  // rounding what is half too small is the floor
      const float twice = std::clamp(row[i] * factor + (top - 0.5f), 0.0f, 2.0f * top);
      codes->codes[i] =
          nearest_code(book, 1 << layout_bits(shape.id), static_cast<int>(std::lrint(twice)));
    }
  }
}

float unbiased_gain(LayoutId id) {
  const auto grid = find_grid(1, 1 << layout_bits(id));
  KVKEEP_CHECK(grid.has_value(), "layout id {}", static_cast<int>(id));
  return static_cast<float>(1.0 / (1.0 - (*grid)->mse));
}

void apply_gain(const PartShape& shape, float gain, int first, int count, TileCodes* codes) {
  for (int g = 0; g < shape.groups; ++g)
    for (int t = first; t < first + count; ++t) {
      uint16_t& word = codes->scales[g * kTileTokens + t];
      word = f32_to_f16(std::min(gain * f16_to_f32(word), 65504.0f));
    }
}

}  // namespace kvkeep
