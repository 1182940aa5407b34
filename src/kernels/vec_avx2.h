// Eight lanes with AVX2, FMA and F16C; vec_scalar.h says what each operation means.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "base/half.h"

namespace kvkeep::avx2 {

inline constexpr int kLanes = 8;
inline constexpr int kTileVecs = 16 / kLanes;
inline constexpr int kHeadsAtOnce = 4;
inline constexpr int kIntHeadsAtOnce = 4;
inline constexpr int kTogether = 1;
inline constexpr int kSumChains = 4;
inline constexpr int kProductChains = 1;

struct Vec {
  __m256 v;
};

inline Vec set(float x) { return {_mm256_set1_ps(x)}; }
inline Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
inline void store(float* p, Vec a) { _mm256_storeu_ps(p, a.v); }
inline __m128i load_words(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline Vec load_f16(const uint16_t* p) { return {_mm256_cvtph_ps(load_words(p))}; }
inline void store_f16(uint16_t* p, Vec a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
inline void store_f16_at_random(uint16_t* p, Vec a, uint32_t noise) {
  const auto word = [](uint32_t x) { return _mm256_set1_epi32(static_cast<int>(x)); };
  const __m256i lanes =
      _mm256_mullo_epi32(word(kNoiseStep), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  const __m256i part = _mm256_srli_epi32(_mm256_add_epi32(word(noise), lanes), 19);
  const __m256i bits = _mm256_castps_si256(a.v), most = word(0x477fe000u);  // 65504
  const __m256i size = _mm256_min_epu32(_mm256_and_si256(bits, word(0x7fffffffu)), most);
  // Below 2^-14 the steps of f16 are 2^-24 wide, above it the 13 lowest bits of a float.
  const __m256i small = _mm256_cmpgt_epi32(word(0x38800000u), size);
  const __m256 least = _mm256_mul_ps(_mm256_cvtepi32_ps(part), _mm256_set1_ps(0x1p-37f));
  const __m256 grown =
      _mm256_blendv_ps(_mm256_castsi256_ps(_mm256_add_epi32(size, part)),
                       _mm256_add_ps(_mm256_castsi256_ps(size), least), _mm256_castsi256_ps(small));
  const __m256 sign = _mm256_castsi256_ps(_mm256_and_si256(bits, word(0x80000000u)));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm256_cvtps_ph(_mm256_or_ps(grown, sign), _MM_FROUND_TO_ZERO));
}
inline Vec set_f16(uint16_t word) {
  return {_mm256_cvtph_ps(_mm_set1_epi16(static_cast<int16_t>(word)))};
}
inline Vec load_bf16(const uint16_t* p) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_words(p)), 16))};
}
inline Vec load_i8(const int8_t* p) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))};
}

inline Vec load_n(const float* p, int n, float rest = 0.0f) {
  float buffer[kLanes];
  for (int i = 0; i < kLanes; ++i) buffer[i] = i < n ? p[i] : rest;
  return load(buffer);
}
inline Vec load_f16_n(const uint16_t* p, int n) {
  uint16_t buffer[kLanes];
  for (int i = 0; i < kLanes; ++i) buffer[i] = i < n ? p[i] : uint16_t{0};
  return load_f16(buffer);
}
inline void store_n(float* p, Vec a, int n) {
  float buffer[kLanes];
  store(buffer, a);
  for (int i = 0; i < n; ++i) p[i] = buffer[i];
}

inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vec mul_add(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }

inline Vec if_equal(Vec a, Vec b, Vec then, Vec other) {
  return {_mm256_blendv_ps(other.v, then.v, _mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ))};
}

// Packing saturates: what is negative, and integer overflow, becomes 0.
inline void store_bytes(uint8_t* p, Vec a) {
  const __m256i x = _mm256_cvtps_epi32(a.v);
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
}
// In each half four words of a, then four of b.
inline __m256i pack_words(Vec a, Vec b) {
  return _mm256_packs_epi32(_mm256_cvtps_epi32(a.v), _mm256_cvtps_epi32(b.v));
}
// Halves of 4 bytes of each of four sources to 8 bytes of one source after the other.
inline __m256i pack(__m256i halves) {
  return _mm256_permutevar8x32_epi32(halves, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
inline void store_bytes(uint8_t* p, Vec a, Vec b, Vec c, Vec d) {
  const __m256i bytes = _mm256_packus_epi16(pack_words(a, b), pack_words(c, d));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), pack(bytes));
}

inline float reduce_sum(Vec a) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
inline float reduce_max(Vec a) {
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
inline void reduce_sum4(const Vec* a, float* to) {
  for (int i = 0; i < 4; ++i) to[i] = reduce_sum(a[i]);
}
inline void reduce_max4(const Vec* a, float* to) {
  for (int i = 0; i < 4; ++i) to[i] = reduce_max(a[i]);
}

inline Vec pow2(Vec a) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(a.v), _mm256_set1_epi32(127));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23))};
}
inline Vec times_pow2(Vec x, Vec a) { return x * pow2(a); }

// Each step adds a lane's partner, with the lane itself negated in the upper half of the pair.
inline Vec hadamard_lanes(Vec a) {
  const __m256 swap1 = _mm256_permute_ps(a.v, 0xb1);
  a.v =
      _mm256_add_ps(swap1, _mm256_xor_ps(a.v, _mm256_setr_ps(0, -0.f, 0, -0.f, 0, -0.f, 0, -0.f)));
  const __m256 swap2 = _mm256_permute_ps(a.v, 0x4e);
  a.v =
      _mm256_add_ps(swap2, _mm256_xor_ps(a.v, _mm256_setr_ps(0, 0, -0.f, -0.f, 0, 0, -0.f, -0.f)));
  const __m256 swap4 = _mm256_permute2f128_ps(a.v, a.v, 1);
  a.v =
      _mm256_add_ps(swap4, _mm256_xor_ps(a.v, _mm256_setr_ps(0, 0, 0, 0, -0.f, -0.f, -0.f, -0.f)));
  return a;
}

inline void transpose(Vec* rows) {
  __m256 pairs[8], quads[8];
  for (int i = 0; i < 8; i += 2) {  // 2x2 blocks
    pairs[i] = _mm256_unpacklo_ps(rows[i].v, rows[i + 1].v);
    pairs[i + 1] = _mm256_unpackhi_ps(rows[i].v, rows[i + 1].v);
  }
  for (int i = 0; i < 8; i += 4)  // 4x4 blocks inside each 128-bit half
    for (int j = 0; j < 2; ++j) {
      quads[i + 2 * j] = _mm256_shuffle_ps(pairs[i + j], pairs[i + j + 2], 0x44);
      quads[i + 2 * j + 1] = _mm256_shuffle_ps(pairs[i + j], pairs[i + j + 2], 0xee);
    }
  for (int i = 0; i < 4; ++i) {
    rows[i].v = _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x20);
    rows[i + 4].v = _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x31);
  }
}

struct Unit {
  __m256i half[2];

  static Unit load(const uint8_t* p) {
    const auto* q = reinterpret_cast<const __m256i*>(p);
    return {{_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)}};
  }
  static Unit load_nibbles(const uint8_t* p) {
    const __m256i row = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return {{row, _mm256_srli_epi16(row, 4)}};
  }
  template <int kShift, int kMask>
  Unit field() const {
    const __m256i mask = _mm256_set1_epi8(kMask);
    return {{_mm256_and_si256(_mm256_srli_epi16(half[0], kShift), mask),
             _mm256_and_si256(_mm256_srli_epi16(half[1], kShift), mask)}};
  }
  Unit look_up(const uint8_t (&table)[16]) const {
    const __m256i points = _mm256_broadcastsi128_si256(load_words(table));
    return {{_mm256_shuffle_epi8(points, half[0]), _mm256_shuffle_epi8(points, half[1])}};
  }
  void store_nibbles(uint8_t* p) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm256_or_si256(half[0], _mm256_slli_epi16(half[1], 4)));
  }
  void store(uint8_t* p) const {
    auto* q = reinterpret_cast<__m256i*>(p);
    _mm256_storeu_si256(q, half[0]);
    _mm256_storeu_si256(q + 1, half[1]);
  }
  Unit operator|(const Unit& other) const {
    return {{_mm256_or_si256(half[0], other.half[0]), _mm256_or_si256(half[1], other.half[1])}};
  }
  template <int kShift>
  Unit shl() const {
    return {{_mm256_slli_epi16(half[0], kShift), _mm256_slli_epi16(half[1], kShift)}};
  }
  Unit blend(const Unit& mask, const Unit& other) const {
    return {{_mm256_blendv_epi8(other.half[0], half[0], mask.half[0]),
             _mm256_blendv_epi8(other.half[1], half[1], mask.half[1])}};
  }
  static void from_words(const uint8_t* rows, ptrdiff_t stride, Unit (&units)[4]) {
    for (int i = 0; i < 2; ++i) {  // rows 8i .. 8i+7: two 4x4 squares side by side
      const uint8_t* row = rows + 8 * i * stride;
      const __m256i r0 = load_rows(row, row + 4 * stride);
      const __m256i r1 = load_rows(row + stride, row + 5 * stride);
      const __m256i r2 = load_rows(row + 2 * stride, row + 6 * stride);
      const __m256i r3 = load_rows(row + 3 * stride, row + 7 * stride);
      const __m256i a = _mm256_unpacklo_epi32(r0, r1), b = _mm256_unpacklo_epi32(r2, r3);
      const __m256i c = _mm256_unpackhi_epi32(r0, r1), d = _mm256_unpackhi_epi32(r2, r3);
      units[0].half[i] = _mm256_unpacklo_epi64(a, b);
      units[1].half[i] = _mm256_unpackhi_epi64(a, b);
      units[2].half[i] = _mm256_unpacklo_epi64(c, d);
      units[3].half[i] = _mm256_unpackhi_epi64(c, d);
    }
  }
  static void from_bytes(const uint8_t* rows, ptrdiff_t stride, Unit (&units)[4]) {
    for (int i = 0; i < 4; i += 2) {  // unit i in the lower lanes, i + 1 in the upper ones
      const uint8_t* row = rows + 4 * i * stride;
      const __m256i r0 = load_rows(row, row + 4 * stride);
      const __m256i r1 = load_rows(row + stride, row + 5 * stride);
      const __m256i r2 = load_rows(row + 2 * stride, row + 6 * stride);
      const __m256i r3 = load_rows(row + 3 * stride, row + 7 * stride);
      const __m256i a = _mm256_unpacklo_epi8(r0, r1), b = _mm256_unpacklo_epi8(r2, r3);
      const __m256i c = _mm256_unpackhi_epi8(r0, r1), d = _mm256_unpackhi_epi8(r2, r3);
      const __m256i x0 = _mm256_unpacklo_epi16(a, b), x1 = _mm256_unpackhi_epi16(a, b);
      const __m256i x2 = _mm256_unpacklo_epi16(c, d), x3 = _mm256_unpackhi_epi16(c, d);
      units[i].half[0] = _mm256_permute2x128_si256(x0, x1, 0x20);
      units[i].half[1] = _mm256_permute2x128_si256(x2, x3, 0x20);
      units[i + 1].half[0] = _mm256_permute2x128_si256(x0, x1, 0x31);
      units[i + 1].half[1] = _mm256_permute2x128_si256(x2, x3, 0x31);
    }
  }
  template <int kRow>
  Vec row(int i) const {
    __m256i x = _mm256_srli_epi32(half[i], 8 * kRow);
    if constexpr (kRow < 3) x = _mm256_and_si256(x, _mm256_set1_epi32(0xff));
    return {_mm256_cvtepi32_ps(x)};
  }

 private:
  // Two rows of 16 bytes.
  static __m256i load_rows(const uint8_t* low, const uint8_t* high) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load_words(low)), load_words(high), 1);
  }
};

struct IntSums {
  __m256i half[2];

  static IntSums zero() { return {{_mm256_setzero_si256(), _mm256_setzero_si256()}}; }
};
inline Vec to_float(const IntSums& a, int i) { return {_mm256_cvtepi32_ps(a.half[i])}; }

inline __m256i broadcast(const void* four_bytes) {
  int word;
  __builtin_memcpy(&word, four_bytes, sizeof word);
  return _mm256_set1_epi32(word);
}

inline void add_products(IntSums& a, const Unit& unit, const int16_t* four) {
  const __m256i even = broadcast(four), odd = broadcast(four + 2);
  for (int i = 0; i < 2; ++i) {
    const __m256i low = _mm256_and_si256(unit.half[i], _mm256_set1_epi16(0xff));
    const __m256i high = _mm256_srli_epi16(unit.half[i], 8);
    a.half[i] = _mm256_add_epi32(a.half[i], _mm256_madd_epi16(low, even));
    a.half[i] = _mm256_add_epi32(a.half[i], _mm256_madd_epi16(high, odd));
  }
}

// 16-bit sums of pairs.
struct NarrowSums {
  __m256i half[2];

  static NarrowSums zero() { return {{_mm256_setzero_si256(), _mm256_setzero_si256()}}; }
};
inline constexpr int64_t kNarrowMost = 32767;
inline void add_products(NarrowSums& a, const Unit& unit, const int8_t* four) {
  const __m256i factors = broadcast(four);
  for (int i = 0; i < 2; ++i)
    a.half[i] = _mm256_add_epi16(a.half[i], _mm256_maddubs_epi16(unit.half[i], factors));
}
inline void add_to(IntSums& total, const IntSums& a) {
  for (int i = 0; i < 2; ++i) total.half[i] = _mm256_add_epi32(total.half[i], a.half[i]);
}
inline void add_to(IntSums& total, const NarrowSums& a) {
  for (int i = 0; i < 2; ++i)
    total.half[i] =
        _mm256_add_epi32(total.half[i], _mm256_madd_epi16(a.half[i], _mm256_set1_epi16(1)));
}

inline __m128i to_i16(Vec a) {
  const __m256i words = _mm256_cvtps_epi32(a.v);
  return _mm_packs_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}
inline void store_i8(int8_t* p, Vec a) {
  const __m128i words = to_i16(a);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
}
inline void store_i8(int8_t* p, Vec a, Vec b, Vec c, Vec d) {
  const __m256i bytes = _mm256_packs_epi16(pack_words(a, b), pack_words(c, d));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), pack(bytes));
}
inline void store_i16(int16_t* p, Vec a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_i16(a));
}

// The sum of 64 factors in 16 lanes.
inline IntSums sum_factors(const int16_t* p) {
  IntSums sums = IntSums::zero();
  for (int i = 0; i < 64; i += 16)
    sums.half[i / 16 % 2] = _mm256_add_epi32(
        sums.half[i / 16 % 2],
        _mm256_madd_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + i)),
                          _mm256_set1_epi16(1)));
  return sums;
}
inline IntSums sum_factors(const int8_t* p) {
  NarrowSums pairs = NarrowSums::zero();
  for (int i = 0; i < 2; ++i)
    pairs.half[i] = _mm256_maddubs_epi16(
        _mm256_set1_epi8(1), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32 * i)));
  IntSums sums = IntSums::zero();
  add_to(sums, pairs);
  return sums;
}
inline Vec abs(Vec a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }

// Volatile, because gcc 12 drops calls of functions that only prefetch as having no effect.
inline void prefetch(const void* p) {
  asm volatile("prefetcht0 %0" : : "m"(*static_cast<const char*>(p)));
}

struct Words {
  __m256i v;
};
inline Words load_int64(const std::byte* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
}
inline Words operator+(Words a, Words b) { return {_mm256_add_epi64(a.v, b.v)}; }
inline uint64_t reduce_sum(Words a) {
  alignas(32) uint64_t words[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(words), a.v);
  return words[0] + words[1] + words[2] + words[3];
}

}  // namespace kvkeep::avx2
