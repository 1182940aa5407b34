// How codes of one width stand in the units of a part: Codes<bits>, one header a width.
//
// Every kernel and layout.cc use the same definitions, but each compiles them into a namespace of
// its own (KVKEEP_TARGET): an inline function shared by baseline and AVX objects would be merged by
// the linker, and baseline code could then run instructions the processor lacks. For the same
// reason these headers use no STL function.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvkeep::KVKEEP_TARGET {

inline constexpr int kUnitCodes = 64;

// Four units in a row are a quad: 16 dims of K or 16 channels of V, of the 16 tokens of a tile.
// Codes<bits> has
//   static constexpr int kUnitsPerRow;  units that share 64 bytes of the code plane
//   static constexpr int kMaskBytes;    bytes of the second plane a unit takes (5 and 3 bits only)
//   static constexpr int kTop;          the largest code
//   static unsigned load(codes, masks, unit, lane);
//   static void store(codes, masks, unit, lane, code);
//   template <class Unit, int kIndex> static Unit unit(codes, masks, quad);  unit 4 * quad + kIndex
//   template <class Unit> static void store_quad(codes, masks, quad, units);  units 4 * quad + 0..3
// codes and masks point at the planes of one tile.
template <int kBits>
struct Codes;

template <class Codes, class Unit>
inline void load_quad(const uint8_t* codes, const uint8_t* masks, int quad, Unit (&units)[4]) {
  units[0] = Codes::template unit<Unit, 0>(codes, masks, quad);
  units[1] = Codes::template unit<Unit, 1>(codes, masks, quad);
  units[2] = Codes::template unit<Unit, 2>(codes, masks, quad);
  units[3] = Codes::template unit<Unit, 3>(codes, masks, quad);
}

// Sets the bits [shift, shift + bits) of *byte.
inline void set_bits(uint8_t* byte, int shift, int bits, unsigned value) {
  const unsigned mask = ((1u << bits) - 1) << shift;
  *byte = static_cast<uint8_t>((*byte & ~mask) | ((value << shift) & mask));
}

// Codes packed side by side in a byte: 1, 2 or 4 units to 64 bytes.
template <int kBits>
struct PlainCodes {
  static constexpr int kUnitsPerRow = 8 / kBits;
  static constexpr int kMaskBytes = 0;
  static constexpr int kTop = (1 << kBits) - 1;

  static constexpr int byte_of(int unit, int lane) {
    return unit / kUnitsPerRow * kUnitCodes + lane;
  }
  static constexpr int shift_of(int unit) { return unit % kUnitsPerRow * kBits; }

  static unsigned load(const uint8_t* codes, const uint8_t*, int unit, int lane) {
    return (unsigned{codes[byte_of(unit, lane)]} >> shift_of(unit)) & kTop;
  }
  static void store(uint8_t* codes, uint8_t*, int unit, int lane, unsigned code) {
    set_bits(codes + byte_of(unit, lane), shift_of(unit), kBits, code);
  }
  template <class Unit, int kIndex>
  static Unit unit(const uint8_t* codes, const uint8_t*, int quad) {
    const Unit row =
        Unit::load(codes + quad * (4 / kUnitsPerRow * kUnitCodes) + byte_of(kIndex, 0));
    if constexpr (kBits == 8) return row;
    if constexpr (kBits < 8) return row.template field<shift_of(kIndex), kTop>();
  }
  template <class Unit>
  static void store_quad(uint8_t* codes, uint8_t*, int quad, const Unit (&units)[4]) {
    uint8_t* to = codes + byte_of(4 * quad, 0);
    if constexpr (kBits == 8)
      for (int i = 0; i < 4; ++i) units[i].store(to + i * kUnitCodes);
    if constexpr (kBits == 4) {
      (units[0] | units[1].template shl<4>()).store(to);
      (units[2] | units[3].template shl<4>()).store(to + kUnitCodes);
    }
    if constexpr (kBits == 2)
      ((units[0] | units[1].template shl<2>()) |
       (units[2].template shl<4>() | units[3].template shl<6>()))
          .store(to);
  }
};

}  // namespace kvkeep::KVKEEP_TARGET
