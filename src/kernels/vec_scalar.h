// One lane at a time, no FMA: the operations that define what every other Vec must do.
//
// A Vec header gives the kernels their operations (the names follow Highway where it has them):
// Vec = kLanes floats, Unit = 64 codes of one byte. kTileVecs Vecs hold 16 floats, the tokens of a
// tile or the channels of a block.
#pragma once

#include <cstddef>

#include "base/half.h"

namespace kvkeep::scalar {

inline constexpr int kLanes = 1;
inline constexpr int kTileVecs = 16 / kLanes;
inline constexpr int kHeadsAtOnce = 1;     // heads whose sums fit in registers beside one row
inline constexpr int kIntHeadsAtOnce = 1;  // the same of IntSums
inline constexpr int kTogether = 1;        // tiles or channel blocks that share a broadcast factor
inline constexpr int kSumChains = 1;       // sums worth keeping apart, for additions take time
inline constexpr int kProductChains = 1;   // the same of integer products

struct Vec {
  float v;
};

inline Vec set(float x) { return {x}; }
inline Vec load(const float* p) { return {*p}; }
inline void store(float* p, Vec a) { *p = a.v; }
inline Vec load_f16(const uint16_t* p) { return {f16_to_f32(*p)}; }
inline void store_f16(uint16_t* p, Vec a) { *p = f32_to_f16(a.v); }
// As f32_to_f16_at_random() does; lane i has the noise `noise + i * kNoiseStep`.
inline void store_f16_at_random(uint16_t* p, Vec a, uint32_t noise) {
  *p = f32_to_f16_at_random(a.v, noise);
}
inline Vec set_f16(uint16_t word) { return {f16_to_f32(word)}; }
inline Vec load_bf16(const uint16_t* p) { return {bf16_to_f32(*p)}; }
inline Vec load_i8(const int8_t* p) { return {static_cast<float>(*p)}; }

// The first n lanes; the rest of the register is `rest`, or zero.
inline Vec load_n(const float* p, int n, float rest = 0.0f) { return {n > 0 ? *p : rest}; }
inline Vec load_f16_n(const uint16_t* p, int n) { return {n > 0 ? f16_to_f32(*p) : 0.0f}; }
inline void store_n(float* p, Vec a, int n) {
  if (n > 0) *p = a.v;
}

inline Vec operator+(Vec a, Vec b) { return {a.v + b.v}; }
inline Vec operator-(Vec a, Vec b) { return {a.v - b.v}; }
inline Vec operator*(Vec a, Vec b) { return {a.v * b.v}; }
inline Vec operator/(Vec a, Vec b) { return {a.v / b.v}; }
inline Vec mul_add(Vec a, Vec b, Vec c) { return {a.v * b.v + c.v}; }
inline Vec max(Vec a, Vec b) { return {a.v > b.v ? a.v : b.v}; }  // b if either is NaN
inline Vec min(Vec a, Vec b) { return {a.v < b.v ? a.v : b.v}; }  // b if either is NaN
inline float reduce_sum(Vec a) { return a.v; }
inline float reduce_max(Vec a) { return a.v; }
inline void reduce_sum4(const Vec* a, float* to) {
  for (int i = 0; i < 4; ++i) to[i] = reduce_sum(a[i]);
}
inline void reduce_max4(const Vec* a, float* to) {
  for (int i = 0; i < 4; ++i) to[i] = reduce_max(a[i]);
}

inline Vec if_equal(Vec a, Vec b, Vec then, Vec other) { return a.v == b.v ? then : other; }

// Lanes at most 255, rounded to nearest even, 0 where negative.
inline void store_bytes(uint8_t* p, Vec a) {
  *p = a.v > 0.0f ? static_cast<uint8_t>(__builtin_lrintf(a.v)) : 0;
}
inline void store_bytes(uint8_t* p, Vec a, Vec b, Vec c, Vec d) {
  store_bytes(p, a);
  store_bytes(p + 1, b);
  store_bytes(p + 2, c);
  store_bytes(p + 3, d);
}

// 2^a for integral a in [-126, 127].
inline Vec pow2(Vec a) {
  const auto exponent = static_cast<uint32_t>(static_cast<int32_t>(a.v) + 127);
  return {__builtin_bit_cast(float, exponent << 23)};
}
inline Vec times_pow2(Vec x, Vec a) { return x * pow2(a); }

// The Walsh-Hadamard transform of the lanes.
inline Vec hadamard_lanes(Vec a) { return a; }

// Lane j of row i becomes lane i of row j; kLanes rows.
inline void transpose(Vec*) {}

struct Unit {
  uint8_t codes[64];

  static Unit load(const uint8_t* p) {
    Unit unit;
    for (int i = 0; i < 64; ++i) unit.codes[i] = p[i];
    return unit;
  }
  // 32 bytes as 64 lanes: low nibbles, then high ones; bits above the fourth are undefined.
  static Unit load_nibbles(const uint8_t* p) {
    Unit unit;
    for (int i = 0; i < 64; ++i) unit.codes[i] = static_cast<uint8_t>(p[i % 32] >> (i / 32 * 4));
    return unit;
  }
  // (byte >> kShift) & kMask, for each byte.
  template <int kShift, int kMask>
  Unit field() const {
    Unit unit;
    for (int i = 0; i < 64; ++i) unit.codes[i] = static_cast<uint8_t>((codes[i] >> kShift) & kMask);
    return unit;
  }
  // table[byte] for each byte, which is below 16.
  Unit look_up(const uint8_t (&table)[16]) const {
    Unit unit;
    for (int i = 0; i < 64; ++i) unit.codes[i] = table[codes[i]];
    return unit;
  }
  void store(uint8_t* p) const {
    for (int i = 0; i < 64; ++i) p[i] = codes[i];
  }
  // 64 lanes of 4 bits to 32 bytes, as load_nibbles reads them.
  void store_nibbles(uint8_t* p) const {
    for (int i = 0; i < 32; ++i) p[i] = static_cast<uint8_t>(codes[i] | codes[i + 32] << 4);
  }
  Unit operator|(const Unit& other) const {
    Unit unit;
    for (int i = 0; i < 64; ++i) unit.codes[i] = static_cast<uint8_t>(codes[i] | other.codes[i]);
    return unit;
  }
  // Each byte moved up; no bit may leave its byte.
  template <int kShift>
  Unit shl() const {
    Unit unit;
    for (int i = 0; i < 64; ++i) unit.codes[i] = static_cast<uint8_t>(codes[i] << kShift);
    return unit;
  }
  // These bytes where the mask is 0xff, the other's where it is 0.
  Unit blend(const Unit& mask, const Unit& other) const {
    Unit unit;
    for (int i = 0; i < 64; ++i) unit.codes[i] = mask.codes[i] ? codes[i] : other.codes[i];
    return unit;
  }
  // 16 rows of 16 bytes to four units: bytes 4i .. 4i+3 of row t are those of lane t of unit i ...
  static void from_words(const uint8_t* rows, ptrdiff_t stride, Unit (&units)[4]) {
    for (int t = 0; t < 16; ++t)
      for (int i = 0; i < 16; ++i) units[i / 4].codes[4 * t + i % 4] = rows[t * stride + i];
  }
  // ... or byte i of the rows 4u .. 4u+3 are those of lane i of unit u.
  static void from_bytes(const uint8_t* rows, ptrdiff_t stride, Unit (&units)[4]) {
    for (int t = 0; t < 16; ++t)
      for (int i = 0; i < 16; ++i) units[t / 4].codes[4 * i + t % 4] = rows[t * stride + i];
  }
  // A unit is four rows of 16 codes; row kRow is byte kRow of each 4-byte lane. Its lanes from
  // i * kLanes on.
  template <int kRow>
  Vec row(int i) const {
    return {static_cast<float>(codes[4 * i + kRow])};
  }
};

// Sums of integer products: lane l belongs to bytes 4l .. 4l+3 of a unit. No sum below rounds or
// overflows, so every ISA gives the same integers.
struct IntSums {
  int32_t lanes[16];

  static IntSums zero() { return {}; }
};
inline Vec to_float(const IntSums& a, int i) { return {static_cast<float>(a.lanes[i])}; }

// a[l] += sum_j unit[4l + j] * four[j].
inline void add_products(IntSums& a, const Unit& unit, const int8_t* four) {
  for (int l = 0; l < 16; ++l)
    for (int j = 0; j < 4; ++j) a.lanes[l] += unit.codes[4 * l + j] * four[j];
}
// The same with 16-bit factors, which stand in the order 0, 2, 1, 3.
inline void add_products(IntSums& a, const Unit& unit, const int16_t* four) {
  constexpr int kPlace[] = {0, 2, 1, 3};
  for (int l = 0; l < 16; ++l)
    for (int j = 0; j < 4; ++j) a.lanes[l] += unit.codes[4 * l + j] * four[kPlace[j]];
}

// Sums of 8-bit products in whatever form the ISA adds fastest: a lane of it may come to
// kNarrowMost before add_to() must empty it.
using NarrowSums = IntSums;
inline constexpr int64_t kNarrowMost = 0x7fffffff;
inline void add_to(IntSums& total, const NarrowSums& a) {
  for (int l = 0; l < 16; ++l) total.lanes[l] += a.lanes[l];
}

// kLanes floats, rounded to nearest even; they fit.
inline void store_i8(int8_t* p, Vec a) { *p = static_cast<int8_t>(__builtin_rintf(a.v)); }
inline void store_i8(int8_t* p, Vec a, Vec b, Vec c, Vec d) {
  store_i8(p, a);
  store_i8(p + 1, b);
  store_i8(p + 2, c);
  store_i8(p + 3, d);
}
inline void store_i16(int16_t* p, Vec a) { *p = static_cast<int16_t>(__builtin_rintf(a.v)); }

// The sum of 64 factors in 16 lanes, in whatever order.
template <class Factor>
inline IntSums sum_factors(const Factor* p) {
  IntSums sums = IntSums::zero();
  for (int i = 0; i < 64; ++i) sums.lanes[i % 16] += p[i];
  return sums;
}
inline Vec abs(Vec a) { return {__builtin_fabsf(a.v)}; }

inline void prefetch(const void*) {}

// Integers of 8 bytes.
struct Words {
  uint64_t v;
};
inline Words load_int64(const std::byte* p) {
  Words words;
  __builtin_memcpy(&words.v, p, sizeof words.v);
  return words;
}
inline Words operator+(Words a, Words b) { return {a.v + b.v}; }
inline uint64_t reduce_sum(Words a) { return a.v; }

}  // namespace kvkeep::scalar
