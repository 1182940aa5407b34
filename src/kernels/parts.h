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
    const uint16_t* from = words + kRow * stride + i * kLanes;
    const int left = lanes - i * kLanes;
    return left >= kLanes ? load_f16(from) : left > 0 ? load_f16_n(from, left) : set(0.0f);
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

// Bytes from a part to the one read next, if any.
inline ptrdiff_t distance(const std::byte* part, const std::byte* next) {
  return next ? next - part : 0;
}

template <int kBits, LayoutKind kKind>
constexpr int top_of() {
  if constexpr (kKind == LayoutKind::codebook) return Codebook<kBits>::kTop;
  if constexpr (kKind != LayoutKind::codebook) return Codes<kBits>::kTop;
}

// A part of packed codes. kBits and kKind fix how bytes are read; the shape says where they are.
template <int kBits, LayoutKind kKind>
struct Part {
  using Codes = KVKEEP_TARGET::Codes<kBits>;
  static constexpr bool kScaled = true;
  static constexpr bool kUniform = kKind == LayoutKind::uniform;  // with a minimum a group
  static constexpr bool kCodebook = kKind == LayoutKind::codebook;
  static constexpr int kQuadBytes = 4 / Codes::kUnitsPerRow * kUnitCodes;
  static constexpr int kQuadMaskBytes = 4 * Codes::kMaskBytes;
  // The largest number that stands for a code, the middle one, the one that stands for zero.
  static constexpr int kTop = top_of<kBits, kKind>();
  static constexpr float kMiddle = kKind == LayoutKind::symmetric ? 1 << (kBits - 1) : 0.5f * kTop;
  static constexpr float kZero = kUniform ? 0.0f : kMiddle;

  const PartShape& shape;
  const uint8_t* bytes;
  ptrdiff_t ahead = 0;  // from bytes to the part that is read next

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

  // Of layouts by channel: the scales of a tile [padded_dim], its minima after them.
  const uint16_t* channel_side(int tile) const {
    return scales(tile / kChannelTiles * kChannelTiles, 0);
  }

  // Codes as numbers: themselves, or the points they stand for.
  static Unit numbers(const Unit& codes) {
    if constexpr (kCodebook) return codes.look_up(Codebook<kBits>::kPoints);
    if constexpr (!kCodebook) return codes;
  }
  // Unit 4 * quad + kIndex of a tile, as numbers.
  template <int kIndex>
  Unit unit(int tile, int quad) const {
    return numbers(Codes::template unit<Unit, kIndex>(codes(tile), masks(tile), quad));
  }
  Unit unit(int tile, int index) const {
    switch (index % 4) {
      case 0:
        prefetch_quad(tile, index / 4);
        return unit<0>(tile, index / 4);
      case 1:
        return unit<1>(tile, index / 4);
      case 2:
        return unit<2>(tile, index / 4);
      default:
        return unit<3>(tile, index / 4);
    }
  }
  // K: dims [dim, dim + 4) of a tile, each 16 tokens; dim is a multiple of 4.
  Unit key_quad(int tile, int dim) const { return unit(tile, dim / 4); }
  // V: tokens [token, token + 4), each channels [16 block, 16 block + 16); token likewise.
  Unit value_quad(int token, int block) const {
    return unit(token / kLaneTokens, 4 * block + token % kLaneTokens / 4);
  }

  // Fetches what the part read next has in the place of this quad, or of these scales.
  void prefetch_quad(int tile, int quad) const {
    for (int row = 0; row < kQuadBytes; row += kUnitCodes)
      prefetch(codes(tile) + quad * kQuadBytes + row + ahead);
    if constexpr (kQuadMaskBytes > 0) prefetch(masks(tile) + quad * kQuadMaskBytes + ahead);
  }
  void prefetch_scales(int tile, int group) const {
    prefetch(reinterpret_cast<const uint8_t*>(scales(tile, group)) + ahead);
  }
};

// f16: the same interface without scales; all dims are one group.
template <>
struct Part<16, LayoutKind::exact> {
  static constexpr bool kScaled = false;

  const PartShape& shape;
  const uint8_t* bytes;
  ptrdiff_t ahead = 0;

  int groups() const { return 1; }
  int group_begin(int) const { return 0; }
  int group_end(int) const { return shape.head_dim; }

  const uint16_t* words(int tile) const {
    return reinterpret_cast<const uint16_t*>(bytes +
                                             static_cast<size_t>(tile) * shape.tile_code_bytes);
  }
  HalfQuad key_quad(int tile, int dim) const {
    const uint16_t* first = words(tile) + f16_key_word(0, dim);
    prefetch_words(first);
    prefetch_words(first + 2 * kLaneTokens);
    return {first, kLaneTokens, kLaneTokens};
  }
  HalfQuad value_quad(int token, int block) const {
    const int channel = kLaneChannels * block;
    const uint16_t* first =
        words(token / kLaneTokens) + f16_value_word(token % kLaneTokens, channel, shape.head_dim);
    if (block % 2 == 0)  // two blocks to 64 bytes
      for (int row = 0; row < 4; ++row) prefetch_words(first + row * shape.head_dim);
    return {first, shape.head_dim, shape.head_dim - channel};
  }
  void prefetch_words(const uint16_t* place) const {
    prefetch(reinterpret_cast<const uint8_t*>(place) + ahead);
  }
};

}  // namespace kvkeep::KVKEEP_TARGET
