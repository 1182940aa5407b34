// score_codes and accumulate_codes: attention in integers, straight on the packed codes.
//
// Queries and probabilities become integers too, so that a byte is multiplied as it is unpacked:
//
//   K: logit = sum over groups of
//                scale * (q_step * sum(q_code * code) + constant) + minimum * sum(q)
//   V: out += f_step * sum(f_code * code) + constant,    f = weight * scale
//
// Codes up to 5 bits meet 8-bit queries and 7-bit f; 8-bit codes meet 14-bit ones, which cost
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

// What is multiplied together: kTogether tiles of K, or blocks of 16 channels of V, so that a
// factor is broadcast once for all of them; quad after quad, of K along the dims and of V over the
// tiles.
template <class Part>
struct PackedUnits {
  using Codes = typename Part::Codes;
  const uint8_t *codes[kTogether], *masks[kTogether];  // of the first quad
  ptrdiff_t codes_step, masks_step;                    // from a quad to the next
  ptrdiff_t ahead;

  template <int kIndex>
  Unit unit(int which, int quad) const {
    return Part::numbers(Codes::template unit<Unit, kIndex>(codes[which] + quad * codes_step,
                                                            masks[which] + quad * masks_step, 0));
  }
  void prefetch(int which, int quad) const {
    for (int row = 0; row < Part::kQuadBytes; row += kUnitCodes)
      KVKEEP_TARGET::prefetch(codes[which] + quad * codes_step + row + ahead);
    if constexpr (Part::kQuadMaskBytes > 0)
      KVKEEP_TARGET::prefetch(masks[which] + quad * masks_step + ahead);
  }
};

// Dims [dim, ...) of the tiles from `tile` on.
template <class Part>
inline PackedUnits<Part> key_units(const Part& part, int tile, int dim) {
  PackedUnits<Part> units;
  for (int i = 0; i < kTogether; ++i) {
    units.codes[i] = part.codes(tile + i) + dim / 16 * Part::kQuadBytes;
    units.masks[i] = part.masks(tile + i) + dim / 16 * Part::kQuadMaskBytes;
  }
  units.codes_step = Part::kQuadBytes, units.masks_step = Part::kQuadMaskBytes;
  units.ahead = part.ahead;
  return units;
}

// The blocks of channels from `block` on, `end` excluded: beyond, the last one repeats.
template <class Part>
inline PackedUnits<Part> value_units(const Part& part, int block, int end) {
  PackedUnits<Part> units;
  for (int i = 0; i < kTogether; ++i) {
    const int at = block + i < end ? block + i : end - 1;
    units.codes[i] = part.codes(0) + at * Part::kQuadBytes;
    units.masks[i] = part.masks(0) + at * Part::kQuadMaskBytes;
  }
  units.codes_step = static_cast<ptrdiff_t>(part.shape.tile_code_bytes);
  units.masks_step = static_cast<ptrdiff_t>(part.shape.tile_mask_bytes);
  units.ahead = part.ahead;
  return units;
}

// The same units, also written to bytes for the heads that come later; then read back.
template <class Units>
struct KeepingUnits {
  const Units& units;
  uint8_t* bytes;

  template <int kIndex>
  Unit unit(int which, int quad) const {
    const Unit unit = units.template unit<kIndex>(which, quad);
    unit.store(bytes + kUnitCodes * (4 * (kTogether * quad + which) + kIndex));
    return unit;
  }
  void prefetch(int which, int quad) const { units.prefetch(which, quad); }
};
struct KeptUnits {
  const uint8_t* bytes;

  template <int kIndex>
  Unit unit(int which, int quad) const {
    return Unit::load(bytes + kUnitCodes * (4 * (kTogether * quad + which) + kIndex));
  }
  void prefetch(int, int) const {}
};

template <class Factor>
struct SumsOf {
  using Type = NarrowSums;
};
template <>
struct SumsOf<int16_t> {
  using Type = IntSums;
};

// Sums of products of kHeads heads, each with kTogether streams of units.
template <class Factor, int kHeads>
struct Products {
  using Sums = typename SumsOf<Factor>::Type;
  Sums sums[kTogether][kHeads];

  [[gnu::always_inline]] Products() {
    repeat<kTogether>([&](auto i) KVKEEP_INLINE {
      repeat<kHeads>([&](auto h) KVKEEP_INLINE { sums[i][h] = Sums::zero(); });
    });
  }
  template <int kIndex, class Units>
  [[gnu::always_inline]] void add(const Units& units, int quad, const Factor* factors,
                                  ptrdiff_t stride) {
    Unit unit[kTogether];
    repeat<kTogether>([&](auto i)
                          KVKEEP_INLINE { unit[i] = units.template unit<kIndex>(i, quad); });
    repeat<kHeads>([&](auto h) KVKEEP_INLINE {
      repeat<kTogether>([&](auto i) KVKEEP_INLINE {
        add_products(sums[i][h], unit[i], factors + h * stride + 16 * quad + 4 * kIndex);
      });
    });
  }
  template <class Total>
  [[gnu::always_inline]] void add_to(Total& total) const {
    repeat<kTogether>([&](auto i) KVKEEP_INLINE {
      repeat<kHeads>([&](auto h)
                         KVKEEP_INLINE { KVKEEP_TARGET::add_to(total.sums[i][h], sums[i][h]); });
    });
  }
};

// done(total), where total[i][h] = sum over `quads` quads of codes * factors[h * stride + ...];
// codes are at most kTop.
template <int kTop, int kHeads, class Factor, class Units, class Done>
[[gnu::always_inline]] inline void multiply(const Units& units, int quads, const Factor* factors,
                                            ptrdiff_t stride, const Done& done) {
  constexpr int64_t kUnits =  // that a sum takes before it may overflow
      sizeof(Factor) == 2 ? 1 << 20 : kNarrowMost / (2 * 127 * kTop);
  static_assert(kUnits >= 2);
  constexpr bool kEnough = kUnits >= kMaxHeadDim / 4;  // for all there can be
  constexpr int kQuads = kUnits < 4 ? 1 : static_cast<int>(kUnits / 4);
  // Where one addition must wait for the last, few heads keep two or four sums (kProductChains),
  // of every second or fourth unit.
  constexpr int kChains = kProductChains / (kTogether * kHeads);
  Products<Factor, kHeads> a, b, c, d;
  auto &second = kChains >= 2 ? b : a, &third = kChains >= 4 ? c : a,
       &fourth = kChains >= 4 ? d : second;
  if constexpr (kEnough) {
    for (int quad = 0; quad < quads; ++quad) {
      for (int i = 0; i < kTogether; ++i) units.prefetch(i, quad);
      a.template add<0>(units, quad, factors, stride);
      second.template add<1>(units, quad, factors, stride);
      third.template add<2>(units, quad, factors, stride);
      fourth.template add<3>(units, quad, factors, stride);
    }
    if constexpr (kChains >= 4) c.add_to(a), d.add_to(b);
    if constexpr (kChains >= 2) b.add_to(a);
    done(a.sums);
  } else {
    Products<int16_t, kHeads> total;
    for (int quad = 0; quad < quads;) {
      const int end = quads - quad < kQuads ? quads : quad + kQuads;
      for (; quad < end; ++quad) {
        for (int i = 0; i < kTogether; ++i) units.prefetch(i, quad);
        a.template add<0>(units, quad, factors, stride);
        a.template add<1>(units, quad, factors, stride);
        if constexpr (kUnits < 4) a.add_to(total), a = {};
        a.template add<2>(units, quad, factors, stride);
        a.template add<3>(units, quad, factors, stride);
      }
      a.add_to(total), a = {};
    }
    done(total.sums);
  }
}

template <int kTop, class Factor, class Units, class Done>
inline void multiply_for(int heads, const Units& units, int quads, const Factor* factors,
                         ptrdiff_t stride, const Done& done) {
  static_assert(kIntHeadsAtOnce == 1 || kIntHeadsAtOnce == 4);
  if (heads == 1) return multiply<kTop, 1>(units, quads, factors, stride, done);
  if constexpr (kIntHeadsAtOnce == 4) {
    if (heads == 2) return multiply<kTop, 2>(units, quads, factors, stride, done);
    if (heads == 3) return multiply<kTop, 3>(units, quads, factors, stride, done);
    multiply<kTop, 4>(units, quads, factors, stride, done);
  }
}

// done(first, total) for heads first, first + 1 ...: when not all fit in registers, the first few
// keep the codes for the others.
template <int kTop, class Factor, class Units, class Done>
inline void multiply_all(int heads, const Units& units, int quads, const Factor* factors,
                         ptrdiff_t stride, const Done& done) {
  const auto done_at = [&done](int first) {
    return [&done, first](const auto& total) KVKEEP_INLINE { done(first, total); };
  };
  if (heads <= kIntHeadsAtOnce)
    return multiply_for<kTop>(heads, units, quads, factors, stride, done_at(0));
  alignas(64) uint8_t kept[kTogether * kMaxHeadDim / 16 * 4 * kUnitCodes];  // 8 or 16 KiB
  multiply_for<kTop>(kIntHeadsAtOnce, KeepingUnits<Units>{units, kept}, quads, factors, stride,
                     done_at(0));
  for (int h = kIntHeadsAtOnce; h < heads; h += kIntHeadsAtOnce) {
    const int some = heads - h < kIntHeadsAtOnce ? heads - h : kIntHeadsAtOnce;
    multiply_for<kTop>(some, KeptUnits{kept}, quads, factors + h * stride, stride, done_at(h));
  }
}

// Rounds to the nearest integer; |x| < 2^22.
inline Vec round(Vec x) {
  const Vec magic = set(12582912.0f);
  return x + magic - magic;
}

// Rounded to nearest even.
inline void store_factors(int8_t* p, Vec x) { store_i8(p, x); }
inline void store_factors(int16_t* p, Vec x) { store_i16(p, x); }
inline void store_factors(int8_t* p, Vec a, Vec b, Vec c, Vec d) { store_i8(p, a, b, c, d); }
inline void store_factors(int16_t* p, Vec a, Vec b, Vec c, Vec d) {
  store_i16(p, a);
  store_i16(p + kLanes, b);
  store_i16(p + 2 * kLanes, c);
  store_i16(p + 3 * kLanes, d);
}

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
template <class Part, int kHeads>
[[gnu::always_inline]] inline void add_logits(const uint16_t* scales, const IntSums (&sums)[kHeads],
                                              const QueryCodes* q, int group, float* total) {
  repeat<kTileVecs>([&](auto i) KVKEEP_INLINE {
    const Vec scale = load_f16(scales + i * kLanes);
    const Vec minimum = Part::kUniform ? load_f16(scales + kLaneTokens + i * kLanes) : set(0.0f);
    repeat<kHeads>([&](auto h) KVKEEP_INLINE {
      float* to = total + 16 * h + i * kLanes;
      const Vec product =
          mul_add(to_float(sums[h], i), set(q[h].scales[group]), set(q[h].constants[group]));
      Vec t = mul_add(scale, product, load(to));
      if constexpr (Part::kUniform) t = mul_add(minimum, set(q[h].sums[group]), t);
      store(to, t);
    });
  });
}

template <int kBits, LayoutKind kKind>
void score_codes(const PartShape& shape, const std::byte* bytes, const std::byte* next, int count,
                 const QueryCodes* q, int heads, float* logits) {
  using P = Part<kBits, kKind>;
  constexpr auto kStride = static_cast<ptrdiff_t>(sizeof(QueryCodes) / sizeof(FactorOf<P>));
  const P part{shape, reinterpret_cast<const uint8_t*>(bytes), distance(bytes, next)};
  const FactorOf<P>* factors = factors_of<FactorOf<P>>(*q);
  float total[kTogether][kMaxHeads * 16];
  for (int tile = 0; tile * kLaneTokens < count; tile += kTogether) {
    for (auto& row : total) clear(row, 16 * heads);
    for (int group = 0; group < part.groups(); ++group) {
      const int begin = part.group_begin(group), n = part.group_end(group) - begin;
      for (int i = 0; i < kTogether; ++i) part.prefetch_scales(tile + i, group);
      multiply_all<P::kTop>(heads, key_units(part, tile, begin), n / 16, factors + begin, kStride,
                            [&](int first, const auto& sums) {
                              for (int i = 0; i < kTogether; ++i)
                                add_logits<P>(part.scales(tile + i, group), sums[i], q + first,
                                              group, total[i] + 16 * first);
                            });
    }
    for (int i = 0; i < kTogether; ++i) store_logits(total[i], tile + i, count, heads, logits);
  }
}

// The weights of one block and group as integers: of each head, factors = f / step with f = weight
// * scale, and what is the same for all channels.
template <class Part>
struct BlockWeights {
  alignas(64) FactorOf<Part> factors[kMaxHeads * kBlockTokens];
  float steps[kMaxHeads], constants[kMaxHeads];
};

// Rounds weights[h][64], which are zero from the count on.
template <class Part>
inline void round_weights(const Part& part, int group, const float* weights, int heads,
                          BlockWeights<Part>* rounded) {
  using Factors = FactorsOf<Part>;
  float scales[kBlockTokens], middles[kBlockTokens];  // of a token; its value at the middle code
  for (int t = 0; t < kBlockTokens; t += kLanes) {
    const uint16_t* side = part.scales(t / kLaneTokens, group) + t % kLaneTokens;
    const Vec scale = load_f16(side);
    store(scales + t, scale);
    if constexpr (Part::kUniform)
      store(middles + t, mul_add(scale, set(Part::kMiddle), load_f16(side + kLaneTokens)));
  }
  float f[kMaxHeads * kBlockTokens], tops[kMaxHeads];
  Vec most[kMaxHeads], same[kMaxHeads];
  for (int h = 0; h < heads; ++h) {
    most[h] = same[h] = set(0.0f);
    for (int t = 0; t < kBlockTokens; t += kLanes) {
      const Vec weight = load(weights + h * kBlockTokens + t), value = weight * load(scales + t);
      store(f + h * kBlockTokens + t, value);
      most[h] = max(most[h], abs(value));
      if constexpr (Part::kUniform) same[h] = mul_add(weight, load(middles + t), same[h]);
    }
  }
  reduce_maxima(most, heads, tops);
  for (int h = 0; h < heads; ++h) {
    auto* factors = rounded->factors + h * kBlockTokens;
    const float step = tops[h] / Factors::kMost;
    const Vec inverse = set(tops[h] > kLeastTop ? Factors::kMost / tops[h] : 0.0f);
    for (int t = 0; t < kBlockTokens; t += 4 * kLanes) {
      const float* from = f + h * kBlockTokens + t;
      store_factors(factors + t, load(from) * inverse, load(from + kLanes) * inverse,
                    load(from + 2 * kLanes) * inverse, load(from + 3 * kLanes) * inverse);
    }
    order_factors(factors, kBlockTokens);
    rounded->steps[h] = step;
    const IntSums sums = sum_factors(factors);
    for (int i = 0; i < kTileVecs; ++i)
      same[h] = mul_add(to_float(sums, i), set(-Part::kMiddle * step), same[h]);
  }
  reduce_sums(same, heads, rounded->constants);
}

// out[h][16 channels of each block] += step * sums + constant.
template <class Part, int kHeads>
[[gnu::always_inline]] inline void add_values(const IntSums (&sums)[kHeads],
                                              const BlockWeights<Part>& weights, int first,
                                              int channels, float* out, ptrdiff_t out_stride) {
  repeat<kHeads>([&](auto h) KVKEEP_INLINE {
    repeat<kTileVecs>([&](auto i) KVKEEP_INLINE {
      const Vec x = mul_add(to_float(sums[h], i), set(weights.steps[first + h]),
                            set(weights.constants[first + h]));
      add_some(out + (first + h) * out_stride + i * kLanes, x, channels - i * kLanes);
    });
  });
}

template <int kBits, LayoutKind kKind>
void accumulate_codes(const PartShape& shape, const std::byte* bytes, const std::byte* next,
                      int count, const float* weights, int heads, float* out, int out_stride) {
  using P = Part<kBits, kKind>;
  const P part{shape, reinterpret_cast<const uint8_t*>(bytes), distance(bytes, next)};
  const int tiles = (count + kLaneTokens - 1) / kLaneTokens;
  float padded[kMaxHeads * kBlockTokens];
  if (count < kBlockTokens) {
    pad_weights(weights, count, kBlockTiles, heads, padded);
    weights = padded;
  }
  BlockWeights<P> rounded;
  for (int group = 0; group < part.groups(); ++group) {
    for (int tile = 0; tile < tiles; ++tile) part.prefetch_scales(tile, group);
    round_weights(part, group, weights, heads, &rounded);
    const int end = part.group_end(group) / 16;
    for (int block = part.group_begin(group) / 16; block < end; block += kTogether)
      multiply_all<P::kTop>(heads, value_units(part, block, end), tiles, rounded.factors,
                            kBlockTokens, [&](int first, const auto& sums) {
                              for (int i = 0; i < kTogether && block + i < end; ++i)
                                add_values<P>(sums[i], rounded, first,
                                              shape.head_dim - 16 * (block + i),
                                              out + 16 * (block + i), out_stride);
                            });
  }
}

}  // namespace kvkeep::KVKEEP_TARGET
