// Keys with a scale and a minimum per channel and 32 tokens (KIVI), widened to floats: scales are
// folded into the query, once for the two tiles that share them.
//
//   logit = sum_d (q[d] * scale[d]) * code[d]  +  sum_d q[d] * minimum[d]
//
// There is no integer form: a query would have to be rounded anew for every 32 tokens.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/attend.h"
#include "kernels/read_rows.h"

namespace kvkeep::KVKEEP_TARGET {

// folded[h][padded_dim] and constants[h] of `heads` queries for the tokens a side is for.
inline void fold_channels(const uint16_t* scales, int padded_dim, const float* q, int q_stride,
                          int heads, float* folded, float* constants) {
  const uint16_t* minima = scales + padded_dim;
  for (int h = 0; h < heads; ++h, q += q_stride, folded += padded_dim) {
    Vec constant = set(0.0f);
    for (int d = 0; d < padded_dim; d += kLanes) {
      const Vec x = load(q + d);
      store(folded + d, x * load_f16(scales + d));
      constant = mul_add(x, load_f16(minima + d), constant);
    }
    constants[h] = reduce_sum(constant);
  }
}

template <int kBits>
void score_by_channel(const PartShape& shape, const std::byte* bytes, const std::byte* next,
                      int count, const float* q, int q_stride, int heads, float* logits) {
  using P = Part<kBits, LayoutKind::by_channel>;
  const P part{shape, reinterpret_cast<const uint8_t*>(bytes), distance(bytes, next)};
  const int padded = shape.padded_dim;
  float folded[kMaxHeads * kMaxHeadDim], constants[kMaxHeads], total[kMaxHeads * 16];
  for (int tile = 0; tile * kLaneTokens < count; ++tile) {
    if (tile % kChannelTiles == 0)
      fold_channels(part.channel_side(tile), padded, q, q_stride, heads, folded, constants);
    for (int h = 0; h < heads; ++h)
      for (int i = 0; i < 16; i += kLanes) store(total + 16 * h + i, set(constants[h]));
    for (int d = 0; d < padded; d += kChunkRows) {
      const int rows = padded - d < kChunkRows ? padded - d : kChunkRows;
      const auto quad_at = [&](int row) { return part.key_quad(tile, d + row); };
      add_rows(quad_at, rows, folded + d, padded, heads, total);
    }
    store_logits(total, tile, count, heads, logits);
  }
}

template <int kBits>
void read_by_channel(const PartShape& shape, const std::byte* bytes, int first, int count,
                     float* rows, int row_stride) {
  using P = Part<kBits, LayoutKind::by_channel>;
  const P part{shape, reinterpret_cast<const uint8_t*>(bytes)};
  for (int slot = first; slot < first + count;) {
    const int tile = slot / kLaneTokens, token = slot % kLaneTokens;
    const int left = first + count - slot, in_tile = kLaneTokens - token;
    const int tokens = left < in_tile ? left : in_tile;
    const uint16_t* scales = part.channel_side(tile);
    for (int d = 0; d < shape.head_dim; d += 16) {
      float x[16 * 16];
      for (int i = 0; i < 16; i += 4) unpack(part.key_quad(tile, d + i), x + 16 * i);
      for (int r = 0; r < 16; ++r) {
        const Vec scale = set_f16(scales[d + r]),
                  minimum = set_f16(scales[shape.padded_dim + d + r]);
        for (int i = 0; i < 16; i += kLanes)
          store(x + 16 * r + i, mul_add(scale, load(x + 16 * r + i), minimum));
      }
      const int dims = shape.head_dim - d < 16 ? shape.head_dim - d : 16;
      store_transposed(x, dims, token, tokens,
                       rows + static_cast<ptrdiff_t>(slot - first) * row_stride + d, row_stride);
    }
    slot += tokens;
  }
}

}  // namespace kvkeep::KVKEEP_TARGET
