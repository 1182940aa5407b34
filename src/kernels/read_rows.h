// Dequantized rows of a part. minimum + scale * code rounds once (the product is exact), so every
// ISA gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/parts.h"
#include "kernels/vector_ops.h"

namespace kvkeep::KVKEEP_TARGET {

// x[rows][16 tokens]: codes to values, with the scales and minima of the 16 tokens.
template <class Part>
inline void dequantize_keys(const uint16_t* scales, int rows, float* x) {
  for (int i = 0; i < 16; i += kLanes) {
    const Vec scale = load_f16(scales + i), zero = set(Part::kZero);
    const Vec minimum = Part::kUniform ? load_f16(scales + kLaneTokens + i) : set(0.0f);
    for (int r = 0; r < rows; ++r)
      store(x + 16 * r + i, mul_add(scale, load(x + 16 * r + i) - zero, minimum));
  }
}

// The first n lanes; n may be more than there are.
inline void store_some(float* p, Vec a, int n) {
  if (n >= kLanes)
    store(p, a);
  else if (n > 0)
    store_n(p, a, n);
}

// rows[t - token][d] = x[d][t] for t in [token, token + tokens). x has 32 rows, all readable.
inline void store_transposed(const float* x, int dims, int token, int tokens, float* rows,
                             ptrdiff_t row_stride) {
  for (int first = 0; first < kLaneTokens; first += kLanes) {
    const int begin = token > first ? token - first : 0;
    const int end = token + tokens - first < kLanes ? token + tokens - first : kLanes;
    if (begin >= end) continue;
    for (int d = 0; d < dims; d += kLanes) {
      Vec square[kLanes];
      for (int i = 0; i < kLanes; ++i) square[i] = load(x + 16 * (d + i) + first);
      transpose(square);
      for (int i = begin; i < end; ++i)
        store_some(rows + (first + i - token) * row_stride + d, square[i], dims - d);
    }
  }
}

template <int kBits, LayoutKind kKind>
void read_keys(const PartShape& shape, const std::byte* bytes, int first, int count, float* rows,
               int row_stride) {
  using P = Part<kBits, kKind>;
  constexpr int kRows = 32;  // divides every group but the last
  const P part{shape, reinterpret_cast<const uint8_t*>(bytes)};
  float x[kRows * 16];
  for (int slot = first; slot < first + count;) {
    const int tile = slot / kLaneTokens, token = slot % kLaneTokens;
    const int left = first + count - slot, in_tile = kLaneTokens - token;
    const int tokens = left < in_tile ? left : in_tile;
    float* to = rows + static_cast<ptrdiff_t>(slot - first) * row_stride;
    for (int group = 0; group < part.groups(); ++group)
      for (int d = part.group_begin(group); d < part.group_end(group); d += kRows) {
        const int end = part.group_end(group) < d + kRows ? part.group_end(group) : d + kRows;
        for (int i = d; i < end; i += 4) unpack(part.key_quad(tile, i), x + 16 * (i - d));
        if constexpr (P::kScaled) dequantize_keys<P>(part.scales(tile, group), end - d, x);
        const int dims = (end < shape.head_dim ? end : shape.head_dim) - d;
        store_transposed(x, dims, token, tokens, to + d, row_stride);
      }
    slot += tokens;
  }
}

// f16 rows of V stand whole in their tile.
template <class Part>
inline void read_value_halves(const Part& part, int first, int count, float* rows,
                              ptrdiff_t row_stride) {
  const int head_dim = part.shape.head_dim;
  for (int slot = first; slot < first + count; ++slot, rows += row_stride) {
    const uint16_t* words =
        part.words(slot / kLaneTokens) + f16_value_word(slot % kLaneTokens, 0, head_dim);
    f16_to_f32_n(words, rows, head_dim);
  }
}

// The scale (or minimum) of 16 tokens as floats.
inline void widen16(const uint16_t* words, float* out) {
  for (int i = 0; i < 16; i += kLanes) store(out + i, load_f16(words + i));
}

// Channels [d, d + 16) of the tokens [begin, end) of a tile; to is the first token's channel d.
template <class Part>
inline void read_value_channels(const Part& part, int tile, int begin, int end, int d,
                                const float* scales, const float* minima, float* to,
                                ptrdiff_t row_stride) {
  float x[16 * 16];
  for (int t = 0; t < kLaneTokens; t += 4)
    unpack(part.value_quad(tile * kLaneTokens + t, d / 16), x + 16 * t);
  const int channels = part.shape.head_dim - d;
  for (int t = begin; t < end; ++t, to += row_stride)
    for (int i = 0; i < kLaneChannels; i += kLanes) {
      const Vec code = load(x + 16 * t + i) - set(Part::kZero);
      store_some(to + i, mul_add(set(scales[t]), code, set(minima[t])), channels - i);
    }
}

template <int kBits, LayoutKind kKind>
void read_values(const PartShape& shape, const std::byte* bytes, int first, int count, float* rows,
                 int row_stride) {
  using P = Part<kBits, kKind>;
  const P part{shape, reinterpret_cast<const uint8_t*>(bytes)};
  if constexpr (!P::kScaled) {
    read_value_halves(part, first, count, rows, row_stride);
  } else {
    float scales[16], minima[16] = {};
    for (int slot = first; slot < first + count;) {
      const int tile = slot / kLaneTokens, token = slot % kLaneTokens;
      const int left = first + count - slot, in_tile = kLaneTokens - token;
      const int tokens = left < in_tile ? left : in_tile;
      float* to = rows + static_cast<ptrdiff_t>(slot - first) * row_stride;
      for (int group = 0; group < part.groups(); ++group) {
        widen16(part.scales(tile, group), scales);
        if constexpr (P::kUniform) widen16(part.scales(tile, group) + kLaneTokens, minima);
        for (int d = part.group_begin(group); d < part.group_end(group); d += 16)
          read_value_channels(part, tile, token, token + tokens, d, scales, minima, to + d,
                              row_stride);
      }
      slot += tokens;
    }
  }
}

}  // namespace kvkeep::KVKEEP_TARGET
