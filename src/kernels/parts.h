// Reading the bytes of a part: codes to floats, scales and minima.
//
// Both sides of a block unpack to rows of 16 floats: of K, a row is a dim and the lanes are the
// tokens of a tile; of V, a row is a token and the lanes are 16 channels. Rows come in quads: an
// object with row<0> .. row<3>, each kTileVecs Vecs. One pair of loops (attend.h) then serves all
// layouts and both sides.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"
#include "kernels/layout/all.h"
#include "kernels/vec.h"

namespace kvkeep::KVKEEP_TARGET {

inline constexpr int kLaneTokens = 16, kLaneChannels = 16;
static_assert(kLaneTokens == kTileTokens);

// A quad of unpacked rows, x[4][16].
struct FloatQuad {
  const float* x;

  template <int kRow>
  Vec row(int i) const {
    return load(x + 16 * kRow + i * kLanes);
  }
};

// A quad of half-precision rows; lanes from `lanes` on (a multiple of 8) are zero.
struct HalfQuad {
  const uint16_t* words;
  ptrdiff_t stride;
  int lanes;

  template <int kRow>
  Vec row(int i) const {
    return i * kLanes < lanes ? load_f16(words + kRow * stride + i * kLanes) : set(0.0f);
  }
};

// x[4][16] = the rows of a quad.
template <class Quad>
inline void unpack(const Quad& quad, float* x) {
  for (int i = 0; i < kTileVecs; ++i) {
    store(x + i * kLanes, quad.template row<0>(i));
    store(x + 16 + i * kLanes, quad.template row<1>(i));
    store(x + 32 + i * kLanes, quad.template row<2>(i));
    store(x + 48 + i * kLanes, quad.template row<3>(i));
  }
}

// A part of packed codes. kBits and kKind fix how bytes are read; the shape says where they are.
template <int kBits, LayoutKind kKind>
struct Part {
  using Codes = KVKEEP_TARGET::Codes<kBits>;
  static constexpr bool kScaled = true;
  static constexpr bool kUniform = kKind == LayoutKind::uniform;
  static constexpr float kZero = kUniform ? 0.0f : static_cast<float>(1 << (kBits - 1));

  const PartShape& shape;
  const uint8_t* bytes;

  int groups() const { return shape.groups; }
  int group_begin(int group) const { return group * shape.group; }
  int group_end(int group) const {
    return group + 1 < shape.groups ? (group + 1) * shape.group : shape.padded_dim;
  }

  const uint8_t* codes(int tile) const {
    return bytes + static_cast<size_t>(tile) * shape.tile_code_bytes;
  }
  const uint8_t* masks(int tile) const {
    return bytes + kBlockTiles * shape.tile_code_bytes +
           static_cast<size_t>(tile) * shape.tile_mask_bytes;
  }
  // The 16 scales of a tile and group; its minima follow.
  const uint16_t* scales(int tile, int group) const {
    const uint8_t* side = bytes + kBlockTiles * (shape.tile_code_bytes + shape.tile_mask_bytes) +
                          static_cast<size_t>(tile) * shape.tile_side_bytes;
    return reinterpret_cast<const uint16_t*>(side) + group * kLaneTokens * (kUniform ? 2 : 1);
  }

  Unit unit(int tile, int index) const {
    return Codes::template load_unit<Unit>(codes(tile), masks(tile), index);
  }
  // K: dims [dim, dim + 4) of a tile, each 16 tokens; dim is a multiple of 4.
  Unit key_quad(int tile, int dim) const { return unit(tile, dim / 4); }
  // V: tokens [token, token + 4), each channels [16 block, 16 block + 16); token likewise.
  Unit value_quad(int token, int block) const {
    return unit(token / kLaneTokens, 4 * block + token % kLaneTokens / 4);
  }
};

// f16: the same interface without scales; all dims are one group.
template <>
struct Part<16, LayoutKind::exact> {
  static constexpr bool kScaled = false;

  const PartShape& shape;
  const uint8_t* bytes;

  int groups() const { return 1; }
  int group_begin(int) const { return 0; }
  int group_end(int) const { return shape.head_dim; }

  const uint16_t* words(int tile) const {
    return reinterpret_cast<const uint16_t*>(bytes +
                                             static_cast<size_t>(tile) * shape.tile_code_bytes);
  }
  HalfQuad key_quad(int tile, int dim) const {
    return {words(tile) + f16_key_word(0, dim), kLaneTokens, kLaneTokens};
  }
  HalfQuad value_quad(int token, int block) const {
    const int first = kLaneChannels * block;
    return {words(token / kLaneTokens) + f16_value_word(token % kLaneTokens, first, shape.head_dim),
            shape.head_dim, shape.head_dim - first};
  }
};

}  // namespace kvkeep::KVKEEP_TARGET
