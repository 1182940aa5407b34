// From rows to packed codes, a tile at a time: quantize_tile chooses codes by round-to-nearest or,
// for codebooks, by the norm of the row (codec/rtn.h and codec/points.h define them for one row,
// and these equal them bit for bit), pack_keys and pack_values bring the codes of any quantizer
// into the order of layout.h.
//
// Least and greatest value of a group are folded over channels first and across lanes last, for as
// many tokens as there are lanes; then scales and minima are lanes of one Vec.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"
#include "kernels/layout/all.h"
#include "kernels/vector_ops.h"

namespace kvkeep::KVKEEP_TARGET {

// x[length] of one token: *low and *high lane by lane.
inline void extremes(const float* x, int length, Vec* low, Vec* high) {
  Vec least = set(x[0]), most = least;
  int i = 0;
  for (; i + kLanes <= length; i += kLanes) {
    const Vec v = load(x + i);
    least = min(least, v);
    most = max(most, v);
  }
  if (i < length) {
    const Vec v = load_n(x + i, length - i, x[0]);
    least = min(least, v);
    most = max(most, v);
  }
  *low = least;
  *high = most;
}

// What turns the values of one token and group into codes: code = (x - minimum) * inverse + zero.
struct Steps {
  float minima[kLanes], inverses[kLanes];
};

inline Vec clamp(Vec a, float low, float high) { return min(set(high), max(set(low), a)); }

// Steps of kLanes tokens, a lane each, and the f16 words a reader will use for them.
template <int kBits, LayoutKind kKind>
inline Steps steps_of(Vec low, Vec high, uint16_t* scales, uint16_t* minima) {
  constexpr float kLeastScale = 0x1p-24f, kMost = 65504.0f;
  Steps steps;
  if constexpr (kKind == LayoutKind::uniform) {
    store_f16(minima, clamp(low, -kMost, kMost) + set(0.0f));
    const Vec step = (high - low) / set(static_cast<float>((1 << kBits) - 1));
    store_f16(scales, clamp(step, kLeastScale, kMost));
    store(steps.minima, load_f16(minima));
    const Vec inverse = set(1.0f) / load_f16(scales);
    store(steps.inverses, if_equal(high, low, set(0.0f), inverse));
  } else {
    const Vec least = set(0.0f) - low, most = max(least, high);
    Vec step = most / set(127.0f);
    if constexpr (kBits < 8)
      step = if_equal(least, most, low, high) / set(static_cast<float>(-(1 << (kBits - 1))));
    store_f16(scales, clamp(step, -kMost, kMost) + set(0.0f));
    const Vec scale = load_f16(scales);
    store(steps.inverses, if_equal(scale, set(0.0f), set(0.0f), set(1.0f) / scale));
  }
  return steps;
}

// codes[length] of one token and group.
template <int kBits, LayoutKind kKind>
inline void choose_codes(const float* x, int length, float minimum, float inverse, uint8_t* codes) {
  const Vec offset = set(minimum), factor = set(inverse);
  const Vec zero = set(static_cast<float>(1 << (kBits - 1)));
  const Vec top = set(static_cast<float>((1 << kBits) - 1));
  const auto code = [&](Vec v) {
    if constexpr (kKind == LayoutKind::uniform) return min((v - offset) * factor, top);
    if constexpr (kKind != LayoutKind::uniform) return min(v * factor + zero, top);
  };
  int i = 0;
  for (; i + 4 * kLanes <= length; i += 4 * kLanes)
    store_bytes(codes + i, code(load(x + i)), code(load(x + i + kLanes)),
                code(load(x + i + 2 * kLanes)), code(load(x + i + 3 * kLanes)));
  for (; i + kLanes <= length; i += kLanes) store_bytes(codes + i, code(load(x + i)));
  if (i == length) return;
  uint8_t last[kLanes];
  store_bytes(last, code(load_n(x + i, length - i)));
  __builtin_memcpy(codes + i, last, static_cast<size_t>(length - i));
}

template <int kBits, LayoutKind kKind>
void quantize_tile(const PartShape& shape, const float* rows, int row_stride, int first, int count,
                   TileCodes* tile) {
  const ptrdiff_t stride = row_stride, padded = shape.padded_dim;
  for (int t = 0; t < count; t += kLanes) {
    const int tokens = count - t < kLanes ? count - t : kLanes;
    const float* from = rows + t * stride;
    uint8_t* to = tile->codes + (first + t) * padded;
    for (int group = 0; group < shape.groups; ++group) {
      const int begin = group * shape.group, rest = shape.head_dim - begin;
      const int length = rest < shape.group ? rest : shape.group;
      Vec lows[kLanes], highs[kLanes];
      for (int i = 0; i < kLanes; ++i)  // lanes past the last token repeat it
        extremes(from + (i < tokens ? i : tokens - 1) * stride + begin, length, lows + i,
                 highs + i);
      transpose(lows);
      transpose(highs);
      for (int i = 1; i < kLanes; ++i) {
        lows[0] = min(lows[0], lows[i]);
        highs[0] = max(highs[0], highs[i]);
      }
      uint16_t scales[kLanes], minima[kLanes];
      const Steps steps = steps_of<kBits, kKind>(lows[0], highs[0], scales, minima);
      const int side = group * kTileTokens + first + t;
      for (int i = 0; i < tokens; ++i) {
        tile->scales[side + i] = scales[i];
        if constexpr (kKind == LayoutKind::uniform) tile->minima[side + i] = minima[i];
        choose_codes<kBits, kKind>(from + i * stride + begin, length,
                                   kKind == LayoutKind::uniform ? steps.minima[i] : 0.0f,
                                   steps.inverses[i], to + i * padded + begin);
      }
    }
    for (int i = 0; i < tokens; ++i)
      for (int d = shape.head_dim; d < shape.padded_dim; ++d) to[i * padded + d] = 0;
  }
}

// The sum of squares in one order for every ISA: sixteen chains, then halves added to halves.
inline float sum_squares(const float* x, int n) {
  Vec sums[kTileVecs];
  for (Vec& sum : sums) sum = set(0.0f);
  for (int i = 0; i < n; i += 16)
    for (int v = 0; v < kTileVecs && i + v * kLanes < n; ++v) {
      const float* from = x + i + v * kLanes;
      const int left = n - (i + v * kLanes);
      const Vec value = left >= kLanes ? load(from) : load_n(from, left);
      sums[v] = sums[v] + value * value;
    }
  float lanes[16];
  for (int v = 0; v < kTileVecs; ++v) store(lanes + v * kLanes, sums[v]);
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

// codes[length] of one token and group; the scale makes a standard deviation kPerSigma points.
template <int kBits>
inline uint16_t choose_points(const float* x, int length, uint8_t* codes) {
  using Book = Codebook<kBits>;
  static constexpr NearestCodes<kBits> kNearest;
  const float rms = __builtin_sqrtf(sum_squares(x, length) / static_cast<float>(length));
  uint16_t word[kLanes];
  store_f16(word, min(set(rms / Book::kPerSigma), set(65504.0f)));
  float scales[kLanes];
  store(scales, load_f16(word));
  const float scale = scales[0];
  // Rounding what is half too small is the floor that kNearest wants.
  const Vec factor = set(scale > 0.0f ? 2.0f / scale : 0.0f), offset = set(Book::kTop - 0.5f);
  const auto place = [&](Vec v) { return min(v * factor + offset, set(2.0f * Book::kTop)); };
  uint8_t places[kMaxHeadDim];
  for (int i = 0; i < length; i += kLanes)
    store_bytes(places + i, place(length - i >= kLanes ? load(x + i) : load_n(x + i, length - i)));
  for (int i = 0; i < length; ++i) codes[i] = kNearest.at[places[i]];
  return word[0];
}

template <int kBits>
void quantize_points(const PartShape& shape, const float* rows, int row_stride, int first,
                     int count, TileCodes* tile) {
  for (int i = 0; i < count; ++i, rows += row_stride) {
    const int token = first + i;
    uint8_t* codes = tile->codes + token * shape.padded_dim;
    for (int group = 0; group < shape.groups; ++group) {
      const int begin = group * shape.group, rest = shape.head_dim - begin;
      tile->scales[group * kTileTokens + token] = choose_points<kBits>(
          rows + begin, rest < shape.group ? rest : shape.group, codes + begin);
    }
    for (int d = shape.head_dim; d < shape.padded_dim; ++d) codes[d] = 0;
  }
}

// Which bytes of the four units of a quad belong to the tokens first .. first+count-1 of the tile:
// 0xff or 0.
template <Side kSide>
inline void own_bytes(int first, int count, uint8_t (&mask)[4][kUnitCodes]) {
  for (int unit = 0; unit < 4; ++unit)
    for (int lane = 0; lane < kUnitCodes; ++lane) {
      const int token = kSide == Side::key ? lane / 4 : 4 * unit + lane % 4;
      mask[unit][lane] = token >= first && token < first + count ? 0xff : 0;
    }
}

template <Side kSide, int kBits, LayoutKind kKind>
void pack_tile(const PartShape& shape, const TileCodes& tile, int first, int count,
               std::byte* part_bytes, int index) {
  using Codes = KVKEEP_TARGET::Codes<kBits>;
  auto* part = reinterpret_cast<uint8_t*>(part_bytes);
  uint8_t* codes = part + static_cast<size_t>(index) * shape.tile_code_bytes;
  uint8_t* masks = part + kBlockTiles * shape.tile_code_bytes +
                   static_cast<size_t>(index) * shape.tile_mask_bytes;
  const bool whole = count == kTileTokens;
  uint8_t own[4][kUnitCodes];
  if (!whole) own_bytes<kSide>(first, count, own);
  for (int quad = 0; quad < shape.padded_dim / 16; ++quad) {
    Unit units[4];
    const uint8_t* rows = tile.codes + 16 * quad;
    if constexpr (kSide == Side::key) Unit::from_words(rows, shape.padded_dim, units);
    if constexpr (kSide == Side::value) Unit::from_bytes(rows, shape.padded_dim, units);
    if (!whole) {
      Unit before[4];
      load_quad<Codes>(codes, masks, quad, before);
      for (int i = 0; i < 4; ++i) units[i] = units[i].blend(Unit::load(own[i]), before[i]);
    }
    Codes::store_quad(codes, masks, quad, units);
  }
  if constexpr (kKind == LayoutKind::by_channel) return;  // their side is not a tile's
  constexpr int kWords = kKind == LayoutKind::uniform ? 2 : 1;
  uint8_t* side = part + shape.side_offset() + static_cast<size_t>(index) * shape.tile_side_bytes;
  const size_t bytes = sizeof(uint16_t) * static_cast<size_t>(count);
  for (int group = 0; group < shape.groups; ++group) {
    const int at = group * kTileTokens + first;
    uint8_t* to = side + 2 * (group * kTileTokens * kWords + first);
    __builtin_memcpy(to, tile.scales + at, bytes);
    if constexpr (kKind == LayoutKind::uniform)
      __builtin_memcpy(to + 2 * kTileTokens, tile.minima + at, bytes);
  }
}

template <int kBits, LayoutKind kKind>
constexpr void fill_packing(KernelTable* table, int at) {
  if constexpr (kKind == LayoutKind::uniform || kKind == LayoutKind::symmetric)
    table->quantize_tile[at] = quantize_tile<kBits, kKind>;
  if constexpr (kKind == LayoutKind::codebook) table->quantize_tile[at] = quantize_points<kBits>;
  if constexpr (kKind != LayoutKind::exact) {
    table->pack_keys[at] = pack_tile<Side::key, kBits, kKind>;
    table->pack_values[at] = pack_tile<Side::value, kBits, kKind>;
  }
}

}  // namespace kvkeep::KVKEEP_TARGET
