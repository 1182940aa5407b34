// Sixteen lanes with AVX-512 (F, BW, VL, DQ), and with VNNI, VBMI and GFNI where the source is
// compiled for them; vec_scalar.h says what each operation means.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "base/half.h"

namespace kvkeep::KVKEEP_TARGET {

inline constexpr int kLanes = 16;
inline constexpr int kTileVecs = 16 / kLanes;
inline constexpr int kHeadsAtOnce = 4;
inline constexpr int kIntHeadsAtOnce = 4;
inline constexpr int kTogether = 2;
inline constexpr int kSumChains = 8;  // two additions a cycle, each takes four
inline constexpr int kProductChains = 16;

struct Vec {
  __m512 v;
};

inline Vec set(float x) { return {_mm512_set1_ps(x)}; }
inline Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
inline __m256i load_words(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
inline Vec load_f16(const uint16_t* p) { return {_mm512_cvtph_ps(load_words(p))}; }
inline void store_f16(uint16_t* p, Vec a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
inline void store_f16_at_random(uint16_t* p, Vec a, uint32_t noise) {
  const auto word = [](uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); };
  const __m512i lanes = _mm512_mullo_epi32(
      word(kNoiseStep), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  const __m512i part = _mm512_srli_epi32(_mm512_add_epi32(word(noise), lanes), 19);
  const __m512i bits = _mm512_castps_si512(a.v), most = word(0x477fe000u);  // 65504
  const __m512i size = _mm512_min_epu32(_mm512_and_si512(bits, word(0x7fffffffu)), most);
  // Below 2^-14 the steps of f16 are 2^-24 wide, above it the 13 lowest bits of a float.
  const __mmask16 small = _mm512_cmplt_epi32_mask(size, word(0x38800000u));
  const __m512 least = _mm512_mul_ps(_mm512_cvtepi32_ps(part), _mm512_set1_ps(0x1p-37f));
  const __m512 grown = _mm512_mask_add_ps(_mm512_castsi512_ps(_mm512_add_epi32(size, part)), small,
                                          _mm512_castsi512_ps(size), least);
  const __m512i sign = _mm512_and_si512(bits, word(0x80000000u));
  const __m512 signed_grown =
      _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(grown), sign));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(signed_grown, _MM_FROUND_TO_ZERO));
}
inline Vec set_f16(uint16_t word) {
  return {_mm512_cvtph_ps(_mm256_set1_epi16(static_cast<int16_t>(word)))};
}
inline Vec load_bf16(const uint16_t* p) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_words(p)), 16))};
}
inline Vec load_i8(const int8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))};
}

inline __mmask16 first_lanes(int n) { return static_cast<__mmask16>((1u << n) - 1); }
inline Vec load_n(const float* p, int n, float rest = 0.0f) {
  return {_mm512_mask_loadu_ps(_mm512_set1_ps(rest), first_lanes(n), p)};
}
inline void store_n(float* p, Vec a, int n) { _mm512_mask_storeu_ps(p, first_lanes(n), a.v); }
inline Vec load_f16_n(const uint16_t* p, int n) {
  return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(n), p))};
}

inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec mul_add(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }

inline Vec if_equal(Vec a, Vec b, Vec then, Vec other) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ), other.v, then.v)};
}

// What is negative becomes 0, and integer overflow too (its integer is the least there is).
inline __m512i to_u32(Vec a) {
  return _mm512_max_epi32(_mm512_cvtps_epi32(a.v), _mm512_setzero_si512());
}
inline void store_bytes(uint8_t* p, Vec a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtusepi32_epi8(to_u32(a)));
}
// In each quarter four words of a, then four of b.
inline __m512i pack_words(Vec a, Vec b) {
  return _mm512_packs_epi32(_mm512_cvtps_epi32(a.v), _mm512_cvtps_epi32(b.v));
}
// Quarters of 4 bytes of each of four sources to 16 bytes of one source after the other.
inline __m512i pack(__m512i quarters) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_permutexvar_epi32(order, quarters);
}
inline void store_bytes(uint8_t* p, Vec a, Vec b, Vec c, Vec d) {
  _mm512_storeu_si512(p, pack(_mm512_packus_epi16(pack_words(a, b), pack_words(c, d))));
}

inline float reduce_sum(Vec a) { return _mm512_reduce_add_ps(a.v); }
inline float reduce_max(Vec a) { return _mm512_reduce_max_ps(a.v); }

// Folds the lanes of four Vecs to to[4], in half the steps that one after the other would take.
template <class Fold>
inline void reduce4(const Vec* a, float* to, const Fold& fold) {
  const auto pair = [&fold](Vec x, Vec y) {
    return fold(_mm512_unpacklo_ps(x.v, y.v), _mm512_unpackhi_ps(x.v, y.v));
  };
  const __m512d ab = _mm512_castps_pd(pair(a[0], a[1])), cd = _mm512_castps_pd(pair(a[2], a[3]));
  const __m512 all = fold(_mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)),
                          _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)));
  const __m512 half = fold(all, _mm512_shuffle_f32x4(all, all, 0x4e));
  const __m512 quarter = fold(half, _mm512_shuffle_f32x4(half, half, 0xb1));
  _mm_storeu_ps(to, _mm512_castps512_ps128(quarter));
}
inline void reduce_sum4(const Vec* a, float* to) {
  reduce4(a, to, [](__m512 x, __m512 y) { return _mm512_add_ps(x, y); });
}
inline void reduce_max4(const Vec* a, float* to) {
  reduce4(a, to, [](__m512 x, __m512 y) { return _mm512_max_ps(x, y); });
}

inline Vec pow2(Vec a) { return {_mm512_scalef_ps(_mm512_set1_ps(1.0f), a.v)}; }
inline Vec times_pow2(Vec x, Vec a) { return {_mm512_scalef_ps(x.v, a.v)}; }

// Each step adds a lane's partner, with the lane itself negated in the upper half of the pair.
inline Vec hadamard_lanes(Vec a) {
  const auto step = [&](__m512 partner, __mmask16 upper) {
    a.v = _mm512_mask_sub_ps(_mm512_add_ps(partner, a.v), upper, partner, a.v);
  };
  step(_mm512_permute_ps(a.v, 0xb1), 0xaaaa);
  step(_mm512_permute_ps(a.v, 0x4e), 0xcccc);
  step(_mm512_shuffle_f32x4(a.v, a.v, 0xb1), 0xf0f0);
  step(_mm512_shuffle_f32x4(a.v, a.v, 0x4e), 0xff00);
  return a;
}

inline void transpose(Vec* rows) {
  __m512 pairs[16], quads[16];
  for (int i = 0; i < 16; i += 2) {  // 2x2 blocks
    pairs[i] = _mm512_unpacklo_ps(rows[i].v, rows[i + 1].v);
    pairs[i + 1] = _mm512_unpackhi_ps(rows[i].v, rows[i + 1].v);
  }
  for (int i = 0; i < 16; i += 4)  // 4x4 blocks inside each quarter
    for (int j = 0; j < 2; ++j) {
      quads[i + 2 * j] = _mm512_shuffle_ps(pairs[i + j], pairs[i + j + 2], 0x44);
      quads[i + 2 * j + 1] = _mm512_shuffle_ps(pairs[i + j], pairs[i + j + 2], 0xee);
    }
  for (int i = 0; i < 4; ++i) {  // row 4k + i: quarter k of quads i, i + 4, i + 8, i + 12
    const __m512 low01 = _mm512_shuffle_f32x4(quads[i], quads[i + 4], 0x44);
    const __m512 low23 = _mm512_shuffle_f32x4(quads[i], quads[i + 4], 0xee);
    const __m512 high01 = _mm512_shuffle_f32x4(quads[i + 8], quads[i + 12], 0x44);
    const __m512 high23 = _mm512_shuffle_f32x4(quads[i + 8], quads[i + 12], 0xee);
    rows[i].v = _mm512_shuffle_f32x4(low01, high01, 0x88);
    rows[i + 4].v = _mm512_shuffle_f32x4(low01, high01, 0xdd);
    rows[i + 8].v = _mm512_shuffle_f32x4(low23, high23, 0x88);
    rows[i + 12].v = _mm512_shuffle_f32x4(low23, high23, 0xdd);
  }
}

inline __m128i load_row(const uint8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
// Four rows of 16 bytes, one a quarter.
inline __m512i load_rows(const uint8_t* p, ptrdiff_t stride) {
  const __m256i low =
      _mm256_inserti128_si256(_mm256_castsi128_si256(load_row(p)), load_row(p + stride), 1);
  const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(load_row(p + 2 * stride)),
                                               load_row(p + 3 * stride), 1);
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

struct Unit {
  __m512i v;

  static Unit load(const uint8_t* p) { return {_mm512_loadu_si512(p)}; }
  static Unit load_nibbles(const uint8_t* p) {
    const __m512i twice = _mm512_broadcast_i64x4(load_words(p));
    const __m512i shifts = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(4), 1);
    return {_mm512_srlv_epi16(twice, shifts)};
  }
#if defined(__GFNI__)
  // One instruction: bit i of a byte becomes bit i - kShift. Row 7 - i of the 8x8 bit matrix, a
  // byte, selects the source of bit i.
  static constexpr int64_t bit_matrix(int shift, int mask) {
    uint64_t rows = 0;
    for (int i = 0; i + shift < 8; ++i)
      if (mask >> i & 1) rows |= uint64_t{1} << (8 * (7 - i) + i + shift);
    return static_cast<int64_t>(rows);
  }
#endif
  template <int kShift, int kMask>
  Unit field() const {
    if constexpr (kShift == 0) return {_mm512_and_si512(v, _mm512_set1_epi8(kMask))};
#if defined(__GFNI__)
    return {_mm512_gf2p8affine_epi64_epi8(v, _mm512_set1_epi64(bit_matrix(kShift, kMask)), 0)};
#else
    return {_mm512_and_si512(_mm512_srli_epi16(v, kShift), _mm512_set1_epi8(kMask))};
#endif
  }
  Unit look_up(const uint8_t (&table)[16]) const {
    const __m128i points = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
    return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(points), v)};
  }
  void store_nibbles(uint8_t* p) const {
    const __m256i high = _mm256_slli_epi16(_mm512_extracti64x4_epi64(v, 1), 4);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm256_or_si256(_mm512_castsi512_si256(v), high));
  }
  void store(uint8_t* p) const { _mm512_storeu_si512(p, v); }
  Unit operator|(const Unit& other) const { return {_mm512_or_si512(v, other.v)}; }
  template <int kShift>
  Unit shl() const {
    return {_mm512_slli_epi16(v, kShift)};
  }
  Unit blend(const Unit& mask, const Unit& other) const {
    return {_mm512_mask_blend_epi8(_mm512_movepi8_mask(mask.v), other.v, v)};
  }
  // Quarter k of r_i is row 4k + i: each quarter is a 4x4 square of words.
  static void from_words(const uint8_t* rows, ptrdiff_t stride, Unit (&units)[4]) {
    __m512i r[4];
    for (int i = 0; i < 4; ++i) r[i] = load_rows(rows + i * stride, 4 * stride);
    const __m512i a = _mm512_unpacklo_epi32(r[0], r[1]), b = _mm512_unpacklo_epi32(r[2], r[3]);
    const __m512i c = _mm512_unpackhi_epi32(r[0], r[1]), d = _mm512_unpackhi_epi32(r[2], r[3]);
    units[0].v = _mm512_unpacklo_epi64(a, b);
    units[1].v = _mm512_unpackhi_epi64(a, b);
    units[2].v = _mm512_unpacklo_epi64(c, d);
    units[3].v = _mm512_unpackhi_epi64(c, d);
  }
  // Four rows to four bytes of each lane: interleave the quarters of one register.
  static void from_bytes(const uint8_t* rows, ptrdiff_t stride, Unit (&units)[4]) {
    const __m128i four = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i words = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    for (int i = 0; i < 4; ++i) {
      const __m512i x = load_rows(rows + 4 * i * stride, stride);
      units[i].v =
          _mm512_shuffle_epi8(_mm512_permutexvar_epi32(words, x), _mm512_broadcast_i32x4(four));
    }
  }
  template <int kRow>
  Vec row(int) const {  // byte kRow of each lane, the other bytes zero
    const __m128i lane = _mm_setr_epi32(0, 4, 8, 12);
    const __m128i byte = _mm_add_epi32(lane, _mm_set1_epi32(static_cast<int>(0x80808000u + kRow)));
    return {_mm512_cvtepi32_ps(_mm512_shuffle_epi8(v, _mm512_broadcast_i32x4(byte)))};
  }
};

struct IntSums {
  __m512i v;

  static IntSums zero() { return {_mm512_setzero_si512()}; }
};
inline Vec to_float(const IntSums& a, int) { return {_mm512_cvtepi32_ps(a.v)}; }

inline __m512i broadcast(const void* four_bytes) {
  int word;
  __builtin_memcpy(&word, four_bytes, sizeof word);
  return _mm512_set1_epi32(word);
}
inline void add_pairs(IntSums& a, __m512i words, __m512i factors) {
#if defined(__AVX512VNNI__)
  a.v = _mm512_dpwssd_epi32(a.v, words, factors);
#else
  a.v = _mm512_add_epi32(a.v, _mm512_madd_epi16(words, factors));
#endif
}
inline void add_products(IntSums& a, const Unit& unit, const int16_t* four) {
  add_pairs(a, _mm512_and_si512(unit.v, _mm512_set1_epi16(0xff)), broadcast(four));
  add_pairs(a, _mm512_srli_epi16(unit.v, 8), broadcast(four + 2));
}
inline void add_to(IntSums& total, const IntSums& a) { total.v = _mm512_add_epi32(total.v, a.v); }

#if defined(__AVX512VNNI__)
using NarrowSums = IntSums;  // four products a lane, added to 32 bits
inline constexpr int64_t kNarrowMost = 0x7fffffff;
inline void add_products(IntSums& a, const Unit& unit, const int8_t* four) {
  a.v = _mm512_dpbusd_epi32(a.v, unit.v, broadcast(four));
}
#else
struct NarrowSums {  // 16-bit sums of pairs
  __m512i v;

  static NarrowSums zero() { return {_mm512_setzero_si512()}; }
};
inline constexpr int64_t kNarrowMost = 32767;
inline void add_products(NarrowSums& a, const Unit& unit, const int8_t* four) {
  a.v = _mm512_add_epi16(a.v, _mm512_maddubs_epi16(unit.v, broadcast(four)));
}
inline void add_to(IntSums& total, const NarrowSums& a) {
  add_pairs(total, a.v, _mm512_set1_epi16(1));
}
#endif

inline void store_i8(int8_t* p, Vec a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(a.v)));
}
inline void store_i8(int8_t* p, Vec a, Vec b, Vec c, Vec d) {
  _mm512_storeu_si512(p, pack(_mm512_packs_epi16(pack_words(a, b), pack_words(c, d))));
}
inline void store_i16(int16_t* p, Vec a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(a.v)));
}

// The sum of 64 factors in 16 lanes.
inline IntSums sum_factors(const int8_t* p) {
  IntSums sums = IntSums::zero();
#if defined(__AVX512VNNI__)
  sums.v = _mm512_dpbusd_epi32(sums.v, _mm512_set1_epi8(1), _mm512_loadu_si512(p));
#else
  add_pairs(sums, _mm512_maddubs_epi16(_mm512_set1_epi8(1), _mm512_loadu_si512(p)),
            _mm512_set1_epi16(1));
#endif
  return sums;
}
inline IntSums sum_factors(const int16_t* p) {
  IntSums sums = IntSums::zero();
  for (int i = 0; i < 64; i += 32) add_pairs(sums, _mm512_loadu_si512(p + i), _mm512_set1_epi16(1));
  return sums;
}
inline Vec abs(Vec a) { return {_mm512_abs_ps(a.v)}; }

// Volatile, because gcc 12 drops calls of functions that only prefetch as having no effect.
inline void prefetch(const void* p) {
  asm volatile("prefetcht1 %0" : : "m"(*static_cast<const char*>(p)));
}

struct Words {
  __m512i v;
};
inline Words load_int64(const std::byte* p) { return {_mm512_loadu_si512(p)}; }
inline Words operator+(Words a, Words b) { return {_mm512_add_epi64(a.v, b.v)}; }
inline uint64_t reduce_sum(Words a) {  // not _mm512_reduce_add_epi64, whose sums are signed
  uint64_t lanes[8], sum = 0;
  _mm512_storeu_si512(lanes, a.v);
  for (uint64_t lane : lanes) sum += lane;
  return sum;
}

}  // namespace kvkeep::KVKEEP_TARGET
