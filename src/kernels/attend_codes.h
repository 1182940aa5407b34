// score_codes and accumulate_codes: attention in integers, straight on the packed codes.
//
// Queries and probabilities become integers too, so that a byte is multiplied as it is unpacked:
//
//   K: logit = sum over groups of
//                scale * (q_step * sum(q_code * code) + constant) + minimum * sum(q)
//   V: out += f_step * sum(f_code * code) + constant,    f = weight * scale
//
// Codes up to 4 bits meet 8-bit queries and 7-bit f; 8-bit codes meet 14-bit ones, which cost
// nothing more (their products fill 32 bits either way) and lose nothing. The constants subtract
// what rounding q and f does to the middle code, so that only a code's distance from the middle
// multiplies a rounding error. f is rounded against its largest in the block and group.
//
// All integer sums are exact: every ISA gives the same ones.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/attend.h"

namespace kvkeep::KVKEEP_TARGET {

// What multiplies the codes of a layout.
template <class Part>
struct FactorsOf {
  using Type = int8_t;
  static constexpr float kMost = 127.0f;
};
template <LayoutKind kKind>
struct FactorsOf<Part<8, kKind>> {
  using Type = int16_t;
  static constexpr float kMost = 8191.0f;
};
template <class Part>
using FactorOf = typename FactorsOf<Part>::Type;

template <class Factor, class Query>
inline auto* factors_of(Query& query) {
  if constexpr (sizeof(Factor) == 1) return query.narrow;
  if constexpr (sizeof(Factor) == 2) return query.wide;
}

// Quads of one tile of K, from `first` on.
template <class Part>
struct KeyUnits {
  const Part& part;
  int tile, first;

  template <int kIndex>
  Unit unit(int quad) const {
    return part.template unit<kIndex>(tile, first + quad);
  }
  void prefetch(int quad) const { part.prefetch_quad(tile, first + quad); }
};

// 16 channels of V; a quad is a tile.
template <class Part>
struct ValueUnits {
  const Part& part;
  int block;

  template <int kIndex>
  Unit unit(int quad) const {
    return part.template unit<kIndex>(quad, block);
  }
  void prefetch(int quad) const { part.prefetch_quad(quad, block); }
};

// The same units, also written to bytes for the heads that come later; then read back.
template <class Units>
struct KeepingUnits {
  const Units& units;
  uint8_t* bytes;

  template <int kIndex>
  Unit unit(int quad) const {
    const Unit unit = units.template unit<kIndex>(quad);
    unit.store(bytes + kUnitCodes * (4 * quad + kIndex));
    return unit;
  }
  void prefetch(int quad) const { units.prefetch(quad); }
};
struct KeptUnits {
  const uint8_t* bytes;

  template <int kIndex>
  Unit unit(int quad) const {
    return Unit::load(bytes + kUnitCodes * (4 * quad + kIndex));
  }
  void prefetch(int) const {}
};

template <class Factor>
struct SumsOf {
  using Type = NarrowSums;
};
template <>
struct SumsOf<int16_t> {
  using Type = IntSums;
};

// Sums of kHeads heads. Few heads keep several of each, for every kSplit-th unit, where one
// addition must wait for the last (kProductChains).
template <class Factor, int kHeads>
struct Products {
  using Sums = typename SumsOf<Factor>::Type;
  static constexpr int kWanted = kProductChains / kHeads;
  static constexpr int kSplit = kWanted >= 4 ? 4 : kWanted >= 2 ? 2 : 1;
  Sums sums[kSplit][kHeads];

  void clear() {
    for (auto& row : sums)
      for (Sums& sum : row) sum = Sums::zero();
  }
  template <int kIndex, class Units>
  [[gnu::always_inline]] void add(const Units& units, int quad, const Factor* factors,
                                  ptrdiff_t stride) {
    const Unit unit = units.template unit<kIndex>(quad);
    for (int h = 0; h < kHeads; ++h)
      add_products(sums[kIndex % kSplit][h], unit, factors + h * stride + 16 * quad + 4 * kIndex);
  }
  [[gnu::always_inline]] void move_to(IntSums* total) {
    for (auto& row : sums)
      for (int h = 0; h < kHeads; ++h) add_to(total[h], row[h]);
    clear();
  }
};

// total[h] = sum over `quads` quads of codes * factors[h * stride + ...]; codes are at most kTop.
template <int kTop, int kHeads, class Factor, class Units>
inline void multiply(const Units& units, int quads, const Factor* factors, ptrdiff_t stride,
                     IntSums* total) {
  constexpr int64_t kUnits =  // that a sum takes before it may overflow
      sizeof(Factor) == 2 ? 1 << 20 : kNarrowMost / (2 * 127 * kTop);
  static_assert(kUnits >= 2);
  constexpr int kQuads = kUnits < 4 ? 1 : kUnits < 1024 ? static_cast<int>(kUnits / 4) : 256;
  for (int h = 0; h < kHeads; ++h) total[h] = IntSums::zero();
  Products<Factor, kHeads> products;
  products.clear();
  for (int quad = 0; quad < quads;) {
    const int end = quads - quad < kQuads ? quads : quad + kQuads;
    for (; quad < end; ++quad) {
      units.prefetch(quad);
      products.template add<0>(units, quad, factors, stride);
      products.template add<1>(units, quad, factors, stride);
      if constexpr (kUnits < 4) products.move_to(total);
      products.template add<2>(units, quad, factors, stride);
      products.template add<3>(units, quad, factors, stride);
    }
    products.move_to(total);
  }
}

template <int kTop, class Factor, class Units>
inline void multiply_for(int heads, const Units& units, int quads, const Factor* factors,
                         ptrdiff_t stride, IntSums* total) {
  static_assert(kIntHeadsAtOnce == 1 || kIntHeadsAtOnce == 4);
  if (heads == 1) return multiply<kTop, 1>(units, quads, factors, stride, total);
  if constexpr (kIntHeadsAtOnce == 4) {
    if (heads == 2) return multiply<kTop, 2>(units, quads, factors, stride, total);
    if (heads == 3) return multiply<kTop, 3>(units, quads, factors, stride, total);
    multiply<kTop, 4>(units, quads, factors, stride, total);
  }
}

// The same for any number of heads: when not all fit in registers, the first few keep the codes
// for the others.
template <int kTop, class Factor, class Units>
inline void multiply_all(int heads, const Units& units, int quads, const Factor* factors,
                         ptrdiff_t stride, IntSums* total) {
  if (heads <= kIntHeadsAtOnce)
    return multiply_for<kTop>(heads, units, quads, factors, stride, total);
  alignas(64) uint8_t kept[kMaxHeadDim / 16 * 4 * kUnitCodes];  // 8 KiB
  multiply_for<kTop>(kIntHeadsAtOnce, KeepingUnits<Units>{units, kept}, quads, factors, stride,
                     total);
  for (int h = kIntHeadsAtOnce; h < heads; h += kIntHeadsAtOnce) {
    const int some = heads - h < kIntHeadsAtOnce ? heads - h : kIntHeadsAtOnce;
    multiply_for<kTop>(some, KeptUnits{kept}, quads, factors + h * stride, stride, total + h);
  }
}

// Rounds to the nearest integer; |x| < 2^22.
inline Vec round(Vec x) {
  const Vec magic = set(12582912.0f);
  return x + magic - magic;
}

inline void store_factors(int8_t* p, Vec x) { store_i8(p, x); }
inline void store_factors(int16_t* p, Vec x) { store_i16(p, x); }

// 16-bit factors stand in the order 0, 2, 1, 3 (add_products).
inline void order_factors(int8_t*, int) {}
inline void order_factors(int16_t* p, int n) {
  for (int i = 0; i < n; i += 4) {
    const int16_t second = p[i + 1];
    p[i + 1] = p[i + 2];
    p[i + 2] = second;
  }
}

inline constexpr float kLeastTop = 1e-30f;  // below, factors are zero: their inverse overflows

// factors[n] = x rounded to multiples of the result, the largest |x| being kMost of them; n is a
// multiple of 16. *lost = sum(x - result * factors).
template <class Factors>
inline float round_factors(const float* x, int n, typename Factors::Type* factors, float* lost) {
  Vec most = set(0.0f);
  for (int i = 0; i < n; i += kLanes) most = max(most, abs(load(x + i)));
  const float top = reduce_max(most);
  const float step = top / Factors::kMost, inverse = top > kLeastTop ? Factors::kMost / top : 0.0f;
  Vec left = set(0.0f);
  for (int i = 0; i < n; i += kLanes) {
    const Vec value = load(x + i), rounded = round(value * set(inverse));
    store_factors(factors + i, rounded);
    left = left + mul_add(rounded, set(-step), value);
  }
  order_factors(factors, n);
  *lost = reduce_sum(left);
  return step;
}

template <int kBits, LayoutKind kKind>
void quantize_query(const PartShape& shape, const float* q, int q_stride, int heads,
                    QueryCodes* codes) {
  using P = Part<kBits, kKind>;
  const P part{shape, nullptr};
  for (int h = 0; h < heads; ++h, q += q_stride, ++codes) {
    auto* factors = factors_of<FactorOf<P>>(*codes);
    for (int group = 0; group < part.groups(); ++group) {
      const int begin = part.group_begin(group), n = part.group_end(group) - begin;
      float lost;
      codes->scales[group] = round_factors<FactorsOf<P>>(q + begin, n, factors + begin, &lost);
      codes->constants[group] =
          P::kMiddle * lost - (P::kUniform ? 0.0f : P::kZero * sum(q + begin, n));
      codes->sums[group] = sum(q + begin, n);
    }
  }
}

// total[h][16] += the group's part of the logits of one tile.
template <class Part>
inline void add_logits(const uint16_t* scales, const IntSums* sums, const QueryCodes* q, int group,
                       int heads, float* total) {
  for (int i = 0; i < kTileVecs; ++i) {
    const Vec scale = load_f16(scales + i * kLanes);
    const Vec minimum = Part::kUniform ? load_f16(scales + kLaneTokens + i * kLanes) : set(0.0f);
    for (int h = 0; h < heads; ++h) {
      float* to = total + 16 * h + i * kLanes;
      const Vec product =
          mul_add(to_float(sums[h], i), set(q[h].scales[group]), set(q[h].constants[group]));
      Vec t = mul_add(scale, product, load(to));
      if constexpr (Part::kUniform) t = mul_add(minimum, set(q[h].sums[group]), t);
      store(to, t);
    }
  }
}

template <int kBits, LayoutKind kKind>
void score_codes(const PartShape& shape, const std::byte* bytes, const std::byte* next, int count,
                 const QueryCodes* q, int heads, float* logits) {
  using P = Part<kBits, kKind>;
  constexpr auto kStride = static_cast<ptrdiff_t>(sizeof(QueryCodes) / sizeof(FactorOf<P>));
  const P part{shape, reinterpret_cast<const uint8_t*>(bytes), distance(bytes, next)};
  const FactorOf<P>* factors = factors_of<FactorOf<P>>(*q);
  float total[kMaxHeads * 16];
  IntSums sums[kMaxHeads];
  for (int tile = 0; tile * kLaneTokens < count; ++tile) {
    clear(total, 16 * heads);
    for (int group = 0; group < part.groups(); ++group) {
      const int begin = part.group_begin(group), n = part.group_end(group) - begin;
      multiply_all<P::kTop>(heads, KeyUnits<P>{part, tile, begin / 16}, n / 16, factors + begin,
                            kStride, sums);
      part.prefetch_scales(tile, group);
      add_logits<P>(part.scales(tile, group), sums, q, group, heads, total);
    }
    store_logits(total, tile, count, heads, logits);
  }
}

// Of one group and head: f = weight * scale, rounded to factors[64] (zero from count on). Returns
// the step; *constant is what is the same for all channels of the group.
template <class Part>
inline float round_weights(const Part& part, int group, int tiles, const float* weights,
                           FactorOf<Part>* factors, float* constant) {
  float f[kBlockTokens];
  Vec minima = set(0.0f), zeros = set(0.0f);
  for (int t = 0; t < tiles * kLaneTokens; t += kLanes) {
    const uint16_t* scales = part.scales(t / kLaneTokens, group) + t % kLaneTokens;
    const Vec weight = load(weights + t), value = weight * load_f16(scales);
    store(f + t, value);
    if constexpr (Part::kUniform)
      minima = mul_add(weight, load_f16(scales + kLaneTokens), minima);
    else
      zeros = zeros + value;
  }
  float lost;
  const float step = round_factors<FactorsOf<Part>>(f, tiles * kLaneTokens, factors, &lost);
  *constant = Part::kMiddle * lost +
              (Part::kUniform ? reduce_sum(minima) : -Part::kZero * reduce_sum(zeros));
  return step;
}

template <int kBits, LayoutKind kKind>
void accumulate_codes(const PartShape& shape, const std::byte* bytes, const std::byte* next,
                      int count, const float* weights, int heads, float* out, int out_stride) {
  using P = Part<kBits, kKind>;
  const P part{shape, reinterpret_cast<const uint8_t*>(bytes), distance(bytes, next)};
  const int tiles = (count + kLaneTokens - 1) / kLaneTokens;
  float padded[kMaxHeads * kBlockTokens], steps[kMaxHeads], constants[kMaxHeads];
  if (count < kBlockTokens) {
    pad_weights(weights, count, tiles, heads, padded);
    weights = padded;
  }
  alignas(64) FactorOf<P> factors[kMaxHeads * kBlockTokens];
  IntSums sums[kMaxHeads];
  for (int group = 0; group < part.groups(); ++group) {
    for (int tile = 0; tile < tiles; ++tile) part.prefetch_scales(tile, group);
    for (int h = 0; h < heads; ++h)
      steps[h] = round_weights(part, group, tiles, weights + h * kBlockTokens,
                               factors + h * kBlockTokens, constants + h);
    const int end = part.group_end(group) / 16;
    for (int block = part.group_begin(group) / 16; block < end; ++block) {
      multiply_all<P::kTop>(heads, ValueUnits<P>{part, block}, tiles, factors, kBlockTokens, sums);
      const int channels = shape.head_dim - 16 * block;
      for (int h = 0; h < heads; ++h) {
        float* to = out + static_cast<ptrdiff_t>(h) * out_stride + 16 * block;
        for (int i = 0; i < kTileVecs; ++i) {
          const Vec x = mul_add(to_float(sums[h], i), set(steps[h]), set(constants[h]));
          add_some(to + i * kLanes, x, channels - i * kLanes);
        }
      }
    }
  }
}

}  // namespace kvkeep::KVKEEP_TARGET
