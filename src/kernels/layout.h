// What the bytes of a block mean. A layout is known to kernels; how codes are chosen (a quantizer)
// is not.
//
// A block holds 64 tokens of one (layer, kv_head): a K part and a V part, each of any layout. A
// part is four tiles of 16 tokens. Codes stand in units of 64, the order in which a 512-bit
// register multiplies them (one 4-code dot product per 32-bit lane), and d is padded to P = a
// multiple of 16:
//
//   K unit (tile, quad q):              byte lane = 4*token + (dim - 4q)        16 tokens x 4 dims
//   V unit (tile, channel block c, q):  byte lane = 4*(channel - 16c) + (token - 4q)
//
// A tile has P/4 units: K in order of q; V in order 4c + q. Units are packed by width:
//
//   u8  64 bytes, one code a byte
//   u4  two units to 64 bytes: unit 2i in the low nibbles, 2i+1 in the high ones
//   u2  four units to 64 bytes: unit 4i+j in bits 2j, 2j+1
//   u5  four units (a quad) to 128 bytes, u3 to 64, and, in a second plane after the code planes of
//       all four tiles, to 32 more: layout/u5.h and u3.h have the bits
//
//   part = [tile 0..3 codes][u5, u3: tile 0..3 second plane][tile 0..3 side]
//   side of a tile = for each group: 16 scales (f16, one a token), then for uniform layouts 16
//   minima
//
// value = minimum + scale * code (uniform), scale * (code - 2^(bits-1)) (symmetric), scale *
// (points[code] - top / 2) (codebook, layout/codebook.h).
// Layouts by channel (keys only) have one side for two tiles: [scales][minima], f16 [P] each.
// f16 parts have no side: K tile = [dim][16 tokens], V tile = [16 tokens][dim], d not padded.
// Every part is a multiple of 64 bytes; bytes that no token owns are zero.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "kvkeep/error.h"

namespace kvkeep {

inline constexpr int kBlockTokens = 64;
inline constexpr int kTileTokens = 16;
inline constexpr int kBlockTiles = kBlockTokens / kTileTokens;
inline constexpr int kChannelTiles = 2, kChannelTokens = kChannelTiles * kTileTokens;
inline constexpr int kMaxHeadDim = 512;
inline constexpr int kMinGroup = 32;
inline constexpr int kMaxGroups = kMaxHeadDim / kMinGroup;

// One row a layout: identifier, kind, bits.
enum class LayoutId : uint8_t {
#define KVKEEP_LAYOUT(id, kind, bits) id,
#include "kernels/layouts.inc"
#undef KVKEEP_LAYOUT
};

enum class LayoutKind : uint8_t { exact, uniform, symmetric, codebook, by_channel };

struct Layout {
  LayoutId id = LayoutId::f16;
  // Channels that share a scale: 32, 64, 128; kGroupHalf = half of head_dim, at least 32 (MiKV's
  // choice, it keeps the two RoPE halves apart; the default); kGroupToken = all of head_dim (the
  // default of codebooks, which expect rotated rows). 0 for f16.
  int group = 0;

  bool operator==(const Layout&) const = default;
};
inline constexpr int kGroupHalf = -1, kGroupToken = -2;

LayoutKind layout_kind(LayoutId id);
int layout_bits(LayoutId id);  // 16 for f16
inline bool by_channel(LayoutId id) { return layout_kind(id) == LayoutKind::by_channel; }
// What a scale multiplies: value = minimum + scale * code_value.
float code_value(LayoutId id, unsigned code);

struct CodebookPoints {
  int top;
  float per_sigma;        // points to a standard deviation of the normal values they are for
  const uint8_t* points;  // [2^bits], 0 to top
};
CodebookPoints codebook_points(LayoutId id);  // of a codebook

// "u4g64", "u4gh" (half of head_dim), "u4gt" (per token), "u4" and "c4" (the default), "f16".
Result<Layout> parse_layout(const std::string& text);
std::string layout_name(const Layout& layout);

// A layout met with a head_dim: everything a kernel needs to find a code. head_dim is a multiple of
// 8 in [8, kMaxHeadDim].
struct PartShape {
  LayoutId id = LayoutId::f16;
  int head_dim = 0;
  int padded_dim = 0;          // P; head_dim for f16
  int group = 0;               // resolved: channels per scale; the last group may be shorter
  int groups = 0;              // 0 for f16
  size_t tile_code_bytes = 0;  // of one tile, the first plane for u5 and u3
  size_t tile_mask_bytes = 0;  // u5 and u3 only
  size_t tile_side_bytes = 0;

  size_t mask_offset() const { return kBlockTiles * tile_code_bytes; }
  size_t side_offset() const { return mask_offset() + kBlockTiles * tile_mask_bytes; }
  size_t bytes() const {
    return side_offset() + kBlockTiles * tile_side_bytes;
  }  // of a block's part
};

PartShape part_shape(const Layout& layout, int head_dim);

// Scales, then minima, [2][padded_dim], of a tile and the other one that shares them.
uint16_t* channel_side(const PartShape& shape, std::byte* part, int tile);

// One row of one token as a quantizer hands it over: codes[d], and per group f16 scale and minimum.
struct RowCodes {
  uint8_t codes[kMaxHeadDim];
  uint16_t scales[kMaxGroups];
  uint16_t minima[kMaxGroups];  // of uniform layouts only
};

// The rows of one tile as a quantizer hands them over, at the tokens they are for: codes
// [16][padded_dim], zero beyond head_dim, and f16 scales and minima [groups][16].
struct TileCodes {
  alignas(64) uint8_t codes[kTileTokens * kMaxHeadDim];
  uint16_t scales[kMaxGroups * kTileTokens];
  uint16_t minima[kMaxGroups * kTileTokens];  // of uniform layouts only
};

enum class Side : uint8_t { key, value };

// Writes or reads the row of `slot` (0..63) in a K or V part, for quantized layouts; these define
// the layout, and every kernel is tested against them. Of layouts by channel, the codes alone.
void put_row(const PartShape& shape, Side side, std::byte* part, int slot, const RowCodes& row);
void get_row(const PartShape& shape, Side side, const std::byte* part, int slot, RowCodes* row);

// The same for f16 parts: row is [head_dim] half-precision words.
void put_row_f16(const PartShape& shape, Side side, std::byte* part, int slot, const uint16_t* row);
void get_row_f16(const PartShape& shape, Side side, const std::byte* part, int slot, uint16_t* row);

}  // namespace kvkeep
