#include "codec/kivi.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/half.h"
#include "kernels/isa.h"

namespace kvkeep {
namespace {

constexpr float kLeastScale = 0x1p-24f, kMost = 65504.0f;  // of f16

// Scales and minima of all channels into side [2][padded_dim].
void choose_side(const PartShape& shape, const float* rows, int top, uint16_t* side) {
  const int d = shape.head_dim;
  float low[kMaxHeadDim], high[kMaxHeadDim];
  std::copy_n(rows, d, low);
  std::copy_n(rows, d, high);
  for (int t = 1; t < kChannelTokens; ++t)
    for (int c = 0; c < d; ++c) {
      low[c] = std::min(low[c], rows[t * d + c]);
      high[c] = std::max(high[c], rows[t * d + c]);
    }
  for (int c = 0; c < d; ++c) {
    side[c] =
        f32_to_f16(std::clamp((high[c] - low[c]) / static_cast<float>(top), kLeastScale, kMost));
    side[shape.padded_dim + c] = f32_to_f16(std::clamp(low[c], -kMost, kMost) + 0.0f);
  }
}

}  // namespace

void kivi_write(const PartShape& shape, const float* rows, std::byte* part, int tile) {
  KVKEEP_CHECK(by_channel(shape.id) && tile % kChannelTiles == 0, "tile {}", tile);
  const int d = shape.head_dim, top = (1 << layout_bits(shape.id)) - 1;
  uint16_t* side = channel_side(shape, part, tile);
  choose_side(shape, rows, top, side);
  float minimum[kMaxHeadDim], inverse[kMaxHeadDim];
  for (int c = 0; c < d; ++c) {
    inverse[c] = 1.0f / f16_to_f32(side[c]);
    minimum[c] = f16_to_f32(side[shape.padded_dim + c]);
  }
  TileCodes codes;
  for (int i = 0; i < kChannelTiles; ++i) {
    for (int t = 0; t < kTileTokens; ++t, rows += d) {
      uint8_t* to = codes.codes + t * shape.padded_dim;
      std::fill_n(to, shape.padded_dim, uint8_t{0});
      for (int c = 0; c < d; ++c) {
        const float code = (rows[c] - minimum[c]) * inverse[c];
        to[c] = static_cast<uint8_t>(std::lrint(std::clamp(code, 0.0f, static_cast<float>(top))));
      }
    }
    kernels().pack_keys[static_cast<size_t>(shape.id)](shape, codes, 0, kTileTokens, part,
                                                       tile + i);
  }
}

}  // namespace kvkeep
