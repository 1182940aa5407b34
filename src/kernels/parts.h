// Reading the bytes of a part: codes to floats, scales and minima.
//
// Both sides of a block unpack to rows of 16 floats, x[row][16]: of K, a row is a dim and the lanes
// are the tokens of a tile; of V, a row is a token and the lanes are 16 channels. One pair of loops
// (attend.h) then serves all layouts and both sides.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"
#include "kernels/layout/all.h"
#include "kernels/vec.h"

namespace kvkeep::KVKEEP_TARGET {

inline constexpr int kLaneTokens = 16, kLaneChannels = 16;
static_assert(kLaneTokens == kTileTokens);

// Of unit (4 rows of 16 lanes) to x.
template <class Codes>
inline void unpack_unit(const uint8_t* codes, const uint8_t* masks, int unit, float* x) {
  const Unit u = Codes::template load_unit<Unit>(codes, masks, unit);
  for (int i = 0; i < kTileVecs; ++i) {
    store(x + i * kLanes, u.lanes<0>(i));
    store(x + 16 + i * kLanes, u.lanes<1>(i));
    store(x + 32 + i * kLanes, u.lanes<2>(i));
    store(x + 48 + i * kLanes, u.lanes<3>(i));
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

  // K: dims [begin, end), both multiples of 4, of a tile to x[end - begin][16 tokens].
  void unpack_keys(int tile, int begin, int end, float* x) const {
    for (int d = begin; d < end; d += 4, x += 64)
      unpack_unit<Codes>(codes(tile), masks(tile), d / 4, x);
  }
  // V: channels [16 block, 16 block + 16) of a tile to x[16 tokens][16].
  void unpack_values(int tile, int block, float* x) const {
    for (int quad = 0; quad < 4; ++quad)
      unpack_unit<Codes>(codes(tile), masks(tile), 4 * block + quad, x + 64 * quad);
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
  void unpack_keys(int tile, int begin, int end, float* x) const {
    const uint16_t* from = words(tile) + f16_key_word(0, begin);
    for (int i = 0; i < (end - begin) * kLaneTokens; i += kLanes) store(x + i, load_f16(from + i));
  }
  void unpack_values(int tile, int block, float* x) const {
    const int first = kLaneChannels * block;
    const int channels = shape.head_dim - first < 16 ? shape.head_dim - first : 16;
    for (int token = 0; token < kLaneTokens; ++token) {
      const uint16_t* from = words(tile) + f16_value_word(token, first, shape.head_dim);
      for (int i = 0; i < kLaneChannels; i += kLanes)
        store(x + token * 16 + i, i < channels ? load_f16(from + i) : set(0.0f));
    }
  }
};

}  // namespace kvkeep::KVKEEP_TARGET
