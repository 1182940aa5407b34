// score_block and accumulate_block for every layout: codes become exact floats, once for all heads,
// and scales and minima are applied to the sums instead of to each value.
//
//   K: logit = sum over groups of scale * sum(q * code) + minimum * sum(q)
//   V: out  += sum over tokens of (weight * scale) * code  +  sum(weight * minimum)
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/parts.h"

namespace kvkeep::KVKEEP_TARGET {

inline constexpr int kMaxHeads = 16;
inline constexpr int kUnpackRows = 64;  // rows unpacked at a time: 4 KiB, well inside L1

// sums[h][16] += sum_r factors[h * stride + r] * x[r][16] for kHeads heads and n rows.
template <int kHeads>
inline void add_rows_of(const float* x, int n, const float* factors, ptrdiff_t stride,
                        float* sums) {
  Vec acc[kHeads][kTileVecs];
  for (int h = 0; h < kHeads; ++h)
    for (int i = 0; i < kTileVecs; ++i) acc[h][i] = load(sums + 16 * h + i * kLanes);
  for (int r = 0; r < n; ++r, x += 16)
    for (int h = 0; h < kHeads; ++h) {
      const Vec factor = set(factors[h * stride + r]);
      for (int i = 0; i < kTileVecs; ++i)
        acc[h][i] = mul_add(load(x + i * kLanes), factor, acc[h][i]);
    }
  for (int h = 0; h < kHeads; ++h)
    for (int i = 0; i < kTileVecs; ++i) store(sums + 16 * h + i * kLanes, acc[h][i]);
}

inline void add_rows(const float* x, int n, const float* factors, ptrdiff_t stride, int heads,
                     float* sums) {
  for (int h = 0; h < heads;) {
    const float* from = factors + h * stride;
    float* to = sums + 16 * h;
    const int left = heads - h < kHeadsAtOnce ? heads - h : kHeadsAtOnce;
    if (left >= 4) add_rows_of<4>(x, n, from, stride, to);
    if (left == 3) add_rows_of<3>(x, n, from, stride, to);
    if (left == 2) add_rows_of<2>(x, n, from, stride, to);
    if (left == 1) add_rows_of<1>(x, n, from, stride, to);
    h += left;
  }
}

inline void clear(float* x, int n) {
  for (int i = 0; i < n; i += kLanes) store(x + i, set(0.0f));
}

inline float sum_of(const float* x, int n) {  // n a multiple of 8
  Vec sum = set(0.0f);
  for (int i = 0; i < n; i += kLanes) sum = sum + load(x + i);
  return reduce_sum(sum);
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
  float x[kUnpackRows * 16];
  float group_sums[kMaxHeads * 16];
  clear(total, 16 * heads);
  for (int group = 0; group < part.groups(); ++group) {
    float* sums = Part::kScaled ? group_sums : total;
    if (Part::kScaled) clear(sums, 16 * heads);
    const int end = part.group_end(group);
    for (int d = part.group_begin(group); d < end; d += kUnpackRows) {
      const int rows = end - d < kUnpackRows ? end - d : kUnpackRows;
      part.unpack_keys(tile, d, d + rows, x);
      add_rows(x, rows, q + d, q_stride, heads, sums);
    }
    if constexpr (Part::kScaled)
      add_scaled<Part>(part.scales(tile, group), sums, q_sums + group, kMaxGroups, heads, total);
  }
}

template <int kBits, LayoutKind kKind>
void score_block(const PartShape& shape, const std::byte* bytes, int count, const float* q,
                 int q_stride, int heads, float* logits) {
  using P = Part<kBits, kKind>;
  const P part{shape, reinterpret_cast<const uint8_t*>(bytes)};
  float q_sums[kMaxHeads * kMaxGroups], total[kMaxHeads * 16];
  if constexpr (P::kScaled)
    for (int h = 0; h < heads; ++h)
      for (int group = 0; group < part.groups(); ++group) {
        const int begin = part.group_begin(group);
        q_sums[h * kMaxGroups + group] =
            sum_of(q + static_cast<ptrdiff_t>(h) * q_stride + begin, part.group_end(group) - begin);
      }
  for (int tile = 0; tile * kLaneTokens < count; ++tile) {
    score_tile(part, tile, q, q_stride, heads, q_sums, total);
    const int first = tile * kLaneTokens;
    const int tokens = count - first < kLaneTokens ? count - first : kLaneTokens;
    for (int h = 0; h < heads; ++h) {
      float* to = logits + h * kBlockTokens + first;
      for (int t = 0; t < tokens; ++t) to[t] = total[16 * h + t];
    }
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

// out[h][16 channels of `block`] += constants[h] + sum_t factors[h][t] * code.
template <class Part>
inline void accumulate_channels(const Part& part, int block, int count, const float* factors,
                                const float* constants, int heads, float* out, int out_stride) {
  float x[kBlockTokens * 16], sums[kMaxHeads * 16];
  for (int tile = 0; tile * kLaneTokens < count; ++tile)
    part.unpack_values(tile, block, x + tile * kLaneTokens * 16);
  for (int h = 0; h < heads; ++h)
    for (int i = 0; i < 16; i += kLanes)
      store(sums + 16 * h + i, set(Part::kScaled ? constants[h] : 0.0f));
  add_rows(x, count, factors, kBlockTokens, heads, sums);
  const int first = kLaneChannels * block, left = part.shape.head_dim - first;
  const int channels = left < kLaneChannels ? left : kLaneChannels;  // 8 or 16
  for (int h = 0; h < heads; ++h) {
    float* to = out + static_cast<ptrdiff_t>(h) * out_stride + first;
    for (int i = 0; i < channels; i += kLanes)
      store(to + i, load(to + i) + load(sums + 16 * h + i));
  }
}

template <int kBits, LayoutKind kKind>
void accumulate_block(const PartShape& shape, const std::byte* bytes, int count,
                      const float* weights, int heads, float* out, int out_stride) {
  using P = Part<kBits, kKind>;
  const P part{shape, reinterpret_cast<const uint8_t*>(bytes)};
  const int tiles = (count + kLaneTokens - 1) / kLaneTokens;
  float padded[kMaxHeads * kBlockTokens], factors[kMaxHeads * kBlockTokens];
  float constants[kMaxHeads];
  if constexpr (P::kScaled)
    for (int h = 0; h < heads; ++h)
      for (int t = 0; t < tiles * kLaneTokens; ++t)
        padded[h * kBlockTokens + t] = t < count ? weights[h * kBlockTokens + t] : 0.0f;
  for (int group = 0; group < part.groups(); ++group) {
    if constexpr (P::kScaled) fold_weights(part, group, tiles, padded, heads, factors, constants);
    const int end = part.group_end(group);
    for (int block = part.group_begin(group) / 16; 16 * block < end; ++block)
      accumulate_channels(part, block, count, P::kScaled ? factors : weights, constants, heads, out,
                          out_stride);
  }
}

}  // namespace kvkeep::KVKEEP_TARGET
