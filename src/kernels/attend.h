// score_block and accumulate_block for every layout: codes become exact floats, once for all heads,
// and scales and minima are applied to the sums instead of to each value.
//
//   K: logit = sum over groups of scale * sum(q * code) + minimum * sum(q)
//   V: out  += sum over tokens of (weight * scale) * code  +  sum(weight * minimum)
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/parts.h"
#include "kernels/vector_ops.h"

namespace kvkeep::KVKEEP_TARGET {

inline constexpr int kMaxHeads = 16;
inline constexpr int kChunkRows = 64;  // unpacked rows kept for further heads: 4 KiB of L1

// One row for kHeads heads: sums[h][16] += factors[h * stride] * row. kKeep also writes it to x.
template <int kRow, bool kKeep, int kHeads, class Quad>
[[gnu::always_inline]] inline void add_row(const Quad& quad, const float* factors, ptrdiff_t stride,
                                           Vec (&sums)[kHeads][kTileVecs], float* x) {
  Vec lanes[kTileVecs];
  for (int i = 0; i < kTileVecs; ++i) lanes[i] = quad.template row<kRow>(i);
  if constexpr (kKeep)
    for (int i = 0; i < kTileVecs; ++i) store(x + 16 * kRow + i * kLanes, lanes[i]);
  for (int h = 0; h < kHeads; ++h) {
    const Vec factor = set(factors[h * stride + kRow]);
    for (int i = 0; i < kTileVecs; ++i) sums[h][i] = mul_add(lanes[i], factor, sums[h][i]);
  }
}

// sums[h * sums_stride ...][16] += sum_r factors[h * stride + r] * row r, for kHeads heads and rows
// 0 .. n-1; quad_at(r) gives rows r .. r+3. The sums stay in registers. Few heads keep several sums
// of each lane, of every kSplit-th row, so that an FMA need not wait for the last (kSumChains).
template <int kHeads, bool kKeep, class QuadAt>
inline void add_rows_of(const QuadAt& quad_at, int n, const float* factors, ptrdiff_t stride,
                        float* sums, ptrdiff_t sums_stride, float* x) {
  constexpr int kWanted = kSumChains / kHeads;
  constexpr int kSplit = kWanted >= 4 ? 4 : kWanted >= 2 ? 2 : 1;
  Vec acc[kSplit][kHeads][kTileVecs];
  for (int h = 0; h < kHeads; ++h)
    for (int i = 0; i < kTileVecs; ++i) {
      acc[0][h][i] = load(sums + h * sums_stride + i * kLanes);
      for (int s = 1; s < kSplit; ++s) acc[s][h][i] = set(0.0f);
    }
  int row = 0;
  for (; row + 4 <= n; row += 4, factors += 4, x += kKeep ? 64 : 0) {
    const auto quad = quad_at(row);
    add_row<0, kKeep>(quad, factors, stride, acc[0], x);
    add_row<1, kKeep>(quad, factors, stride, acc[1 % kSplit], x);
    add_row<2, kKeep>(quad, factors, stride, acc[2 % kSplit], x);
    add_row<3, kKeep>(quad, factors, stride, acc[3 % kSplit], x);
  }
  if (row < n) {
    float last[64];
    float* to = kKeep ? x : last;
    unpack(quad_at(row), to);
    for (; row < n; ++row, ++factors, to += 16)
      add_row<0, false>(FloatQuad{to}, factors, stride, acc[0], to);
  }
  for (int h = 0; h < kHeads; ++h)
    for (int i = 0; i < kTileVecs; ++i) {
      for (int s = 1; s < kSplit; ++s) acc[0][h][i] = acc[0][h][i] + acc[s][h][i];
      store(sums + h * sums_stride + i * kLanes, acc[0][h][i]);
    }
}

template <bool kKeep, class QuadAt>
inline void add_rows_to(int heads, const QuadAt& quad_at, int n, const float* factors,
                        ptrdiff_t stride, float* sums, ptrdiff_t to, float* x) {
  static_assert(kHeadsAtOnce == 1 || kHeadsAtOnce == 4);
  if (heads == 1) return add_rows_of<1, kKeep>(quad_at, n, factors, stride, sums, to, x);
  if constexpr (kHeadsAtOnce == 4) {
    if (heads == 2) return add_rows_of<2, kKeep>(quad_at, n, factors, stride, sums, to, x);
    if (heads == 3) return add_rows_of<3, kKeep>(quad_at, n, factors, stride, sums, to, x);
    add_rows_of<4, kKeep>(quad_at, n, factors, stride, sums, to, x);
  }
}

// The same for any number of heads and up to kChunkRows rows. Codes are unpacked once: when not all
// heads fit in registers, the first few keep the floats for the others.
template <class QuadAt>
inline void add_rows(const QuadAt& quad_at, int n, const float* factors, ptrdiff_t stride,
                     int heads, float* sums, ptrdiff_t to = 16) {
  if (heads <= kHeadsAtOnce)
    return add_rows_to<false>(heads, quad_at, n, factors, stride, sums, to, nullptr);
  float x[kChunkRows * 16];
  add_rows_to<true>(kHeadsAtOnce, quad_at, n, factors, stride, sums, to, x);
  const auto kept = [&x](int row) { return FloatQuad{x + 16 * row}; };
  for (int h = kHeadsAtOnce; h < heads; h += kHeadsAtOnce) {
    const int some = heads - h < kHeadsAtOnce ? heads - h : kHeadsAtOnce;
    add_rows_to<false>(some, kept, n, factors + h * stride, stride, sums + h * to, to, nullptr);
  }
}

inline void clear(float* x, int n) {
  for (int i = 0; i < n; i += kLanes) store(x + i, set(0.0f));
}

// total[h][16] += scale * (sums - zero * q_sum) + minimum * q_sum, lane by lane.
template <class Part>
inline void add_scaled(const uint16_t* scales, const float* sums, const float* q_sums,
                       int q_sums_stride, int heads, float* total) {
  for (int i = 0; i < kTileVecs; ++i) {
    const Vec scale = load_f16(scales + i * kLanes);
    for (int h = 0; h < heads; ++h) {
      const int at = 16 * h + i * kLanes;
      const Vec q_sum = set(q_sums[h * q_sums_stride]);
      Vec t = load(total + at);
      if constexpr (Part::kUniform) {
        t = mul_add(scale, load(sums + at), t);
        t = mul_add(load_f16(scales + kLaneTokens + i * kLanes), q_sum, t);
      } else {
        t = mul_add(scale, load(sums + at) - q_sum * set(Part::kZero), t);
      }
      store(total + at, t);
    }
  }
}

// The logits of one tile, total[h][16].
template <class Part>
inline void score_tile(const Part& part, int tile, const float* q, int q_stride, int heads,
                       const float* q_sums, float* total) {
  float group_sums[kMaxHeads * 16];
  clear(total, 16 * heads);
  for (int group = 0; group < part.groups(); ++group) {
    float* sums = Part::kScaled ? group_sums : total;
    if (Part::kScaled) clear(sums, 16 * heads);
    const int end = part.group_end(group);
    for (int d = part.group_begin(group); d < end; d += kChunkRows) {
      const int rows = end - d < kChunkRows ? end - d : kChunkRows;
      const auto quad_at = [&](int row) { return part.key_quad(tile, d + row); };
      add_rows(quad_at, rows, q + d, q_stride, heads, sums);
    }
    if constexpr (Part::kScaled)
      add_scaled<Part>(part.scales(tile, group), sums, q_sums + group, kMaxGroups, heads, total);
  }
}

// The first `count` logits of each head, of which a tile's are total[h][16].
inline void store_logits(const float* total, int tile, int count, int heads, float* logits) {
  const int first = tile * kLaneTokens;
  for (int h = 0; h < heads; ++h) {
    float* to = logits + h * kBlockTokens + first;
    const float* from = total + 16 * h;
    if (count - first >= kLaneTokens)
      for (int i = 0; i < 16; i += kLanes) store(to + i, load(from + i));
    else
      for (int t = 0; t < count - first; ++t) to[t] = from[t];
  }
}

template <int kBits, LayoutKind kKind>
void score_block(const PartShape& shape, const std::byte* bytes, const std::byte* next, int count,
                 const float* q, int q_stride, int heads, float* logits) {
  using P = Part<kBits, kKind>;
  const P part{shape, reinterpret_cast<const uint8_t*>(bytes), distance(bytes, next)};
  float q_sums[kMaxHeads * kMaxGroups], total[kMaxHeads * 16];
  if constexpr (P::kScaled)
    for (int h = 0; h < heads; ++h)
      for (int group = 0; group < part.groups(); ++group) {
        const int begin = part.group_begin(group);
        q_sums[h * kMaxGroups + group] =
            sum(q + static_cast<ptrdiff_t>(h) * q_stride + begin, part.group_end(group) - begin);
      }
  for (int tile = 0; tile * kLaneTokens < count; ++tile) {
    score_tile(part, tile, q, q_stride, heads, q_sums, total);
    store_logits(total, tile, count, heads, logits);
  }
}

// Of one group: factors[h][64] = weight * scale (zero from count on) and the part of the sum that
// is the same for all channels of the group, constants[h].
template <class Part>
inline void fold_weights(const Part& part, int group, int tiles, const float* weights, int heads,
                         float* factors, float* constants) {
  for (int h = 0; h < heads; ++h) {
    Vec constant = set(0.0f);
    for (int tile = 0; tile < tiles; ++tile)
      for (int i = 0; i < kLaneTokens; i += kLanes) {
        const uint16_t* scales = part.scales(tile, group) + i;
        const int at = h * kBlockTokens + tile * kLaneTokens + i;
        const Vec weight = load(weights + at);
        const Vec factor = weight * load_f16(scales);
        store(factors + at, factor);
        constant = Part::kUniform ? mul_add(weight, load_f16(scales + kLaneTokens), constant)
                                  : constant + factor;
      }
    constants[h] = reduce_sum(constant) * (Part::kUniform ? 1.0f : -Part::kZero);
  }
}

// to[] += x, the first n lanes.
inline void add_some(float* to, Vec x, int n) {
  if (n >= kLanes)
    store(to, load(to) + x);
  else if (n > 0)
    store_n(to, load_n(to, n) + x, n);
}

// out[h][16 channels of `block`] += constants[h] + sum_t factors[h][t] * code.
template <class Part>
inline void accumulate_channels(const Part& part, int block, int count, const float* factors,
                                const float* constants, int heads, float* out, int out_stride) {
  float sums[kMaxHeads * 16];
  for (int h = 0; h < heads; ++h)
    for (int i = 0; i < 16; i += kLanes)
      store(sums + 16 * h + i, set(Part::kScaled ? constants[h] : 0.0f));
  const auto quad_at = [&](int token) { return part.value_quad(token, block); };
  add_rows(quad_at, count, factors, kBlockTokens, heads, sums);
  const int first = kLaneChannels * block, left = part.shape.head_dim - first;
  const int channels = left < kLaneChannels ? left : kLaneChannels;  // 8 or 16
  for (int h = 0; h < heads; ++h) {
    float* to = out + static_cast<ptrdiff_t>(h) * out_stride + first;
    for (int i = 0; i < channels; i += kLanes)
      add_some(to + i, load(sums + 16 * h + i), channels - i);
  }
}

// The weights of whole tiles, zero from count on.
inline void pad_weights(const float* weights, int count, int tiles, int heads, float* padded) {
  for (int h = 0; h < heads; ++h)
    for (int t = 0; t < tiles * kLaneTokens; ++t)
      padded[h * kBlockTokens + t] = t < count ? weights[h * kBlockTokens + t] : 0.0f;
}

// f16: in the order of the bytes, tile by tile; sums that go through memory are the lesser cost.
// Whole blocks of channels only. Flattened, so that a tile's 16 rows are straight code.
template <int kHeads, class Part>
[[gnu::flatten]] inline void accumulate_tiles(const Part& part, int count, const float* weights,
                                              float* out, int out_stride) {
  for (int token = 0; token < count; token += kLaneTokens)
    for (int block = 0; block < part.shape.head_dim / kLaneChannels; ++block) {
      const auto quad_at = [&](int row) {
        HalfQuad quad = part.value_quad(token + row, block);
        quad.lanes = kLaneChannels;
        return quad;
      };
      const int left = count - token, rows = left < kLaneTokens ? left : kLaneTokens;
      float* to = out + kLaneChannels * block;
      if (rows == kLaneTokens)
        add_rows_of<kHeads, false>(quad_at, kLaneTokens, weights + token, kBlockTokens, to,
                                   out_stride, nullptr);
      else
        add_rows_of<kHeads, false>(quad_at, rows, weights + token, kBlockTokens, to, out_stride,
                                   nullptr);
    }
}

template <class Part>
inline void accumulate_halves(const Part& part, int count, const float* weights, int heads,
                              float* out, int out_stride) {
  for (int h = 0; h < heads; h += kHeadsAtOnce) {
    const float* from = weights + h * kBlockTokens;
    float* to = out + static_cast<ptrdiff_t>(h) * out_stride;
    if (heads - h == 1 || kHeadsAtOnce == 1) {
      accumulate_tiles<1>(part, count, from, to, out_stride);
    } else if constexpr (kHeadsAtOnce == 4) {
      if (heads - h == 2) accumulate_tiles<2>(part, count, from, to, out_stride);
      if (heads - h == 3) accumulate_tiles<3>(part, count, from, to, out_stride);
      if (heads - h >= 4) accumulate_tiles<4>(part, count, from, to, out_stride);
    }
  }
  const int blocks = part.shape.head_dim / kLaneChannels;
  if (part.shape.head_dim % kLaneChannels > 0)
    accumulate_channels(part, blocks, count, weights, nullptr, heads, out, out_stride);
}

template <int kBits, LayoutKind kKind>
void accumulate_block(const PartShape& shape, const std::byte* bytes, const std::byte* next,
                      int count, const float* weights, int heads, float* out, int out_stride) {
  using P = Part<kBits, kKind>;
  const P part{shape, reinterpret_cast<const uint8_t*>(bytes), distance(bytes, next)};
  if constexpr (!P::kScaled) {
    accumulate_halves(part, count, weights, heads, out, out_stride);
  } else {
    const int tiles = (count + kLaneTokens - 1) / kLaneTokens;
    float padded[kMaxHeads * kBlockTokens], factors[kMaxHeads * kBlockTokens];
    float constants[kMaxHeads];
    pad_weights(weights, count, tiles, heads, padded);
    for (int group = 0; group < part.groups(); ++group) {
      fold_weights(part, group, tiles, padded, heads, factors, constants);
      const int end = part.group_end(group);
      for (int block = part.group_begin(group) / 16; 16 * block < end; ++block)
        accumulate_channels(part, block, count, factors, constants, heads, out, out_stride);
    }
  }
}

}  // namespace kvkeep::KVKEEP_TARGET
