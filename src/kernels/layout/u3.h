// 3 bits: a quad takes 96 bytes, so that most codes lie whole in a byte and cost one shift to read.
//
//   code plane, 64 bytes a quad:    bits 0-2 unit 0 | bits 3-5 unit 1 | bits 6-7 unit 2, low bits
//   second plane, 32 bytes a quad:  bits 0-2 unit 3 | bit 3 unit 2, third bit; lanes 0-31 in the
//                                   low nibbles, 32-63 in the high ones
#pragma once

#include "kernels/layout/codes.h"

namespace kvkeep::KVKEEP_TARGET {

template <>
struct Codes<3> {
  static constexpr int kUnitsPerRow = 4;
  static constexpr int kMaskBytes = 8;
  static constexpr int kTop = 7;
  static constexpr int kNibbleRow = 4 * kMaskBytes;

  static unsigned load(const uint8_t* codes, const uint8_t* masks, int unit, int lane) {
    const unsigned row = codes[unit / 4 * kUnitCodes + lane];
    const unsigned nibble = masks[unit / 4 * kNibbleRow + lane % 32] >> (lane / 32 * 4);
    switch (unit % 4) {
      case 2:
        return row >> 6 | (nibble >> 1 & 4u);
      case 3:
        return nibble & 7u;
      default:
        return row >> (unit % 4 * 3) & 7u;
    }
  }
  static void store(uint8_t* codes, uint8_t* masks, int unit, int lane, unsigned code) {
    uint8_t* row = codes + unit / 4 * kUnitCodes + lane;
    uint8_t* nibbles = masks + unit / 4 * kNibbleRow + lane % 32;
    const int shift = lane / 32 * 4;
    if (unit % 4 < 2) set_bits(row, unit % 4 * 3, 3, code);
    if (unit % 4 == 2) {
      set_bits(row, 6, 2, code);
      set_bits(nibbles, shift + 3, 1, code >> 2);
    }
    if (unit % 4 == 3) set_bits(nibbles, shift, 3, code);
  }
  template <class Unit, int kIndex>
  static Unit unit(const uint8_t* codes, const uint8_t* masks, int quad) {
    if constexpr (kIndex == 3) {
      return Unit::load_nibbles(masks + quad * kNibbleRow).template field<0, 7>();
    } else {
      const Unit row = Unit::load(codes + quad * kUnitCodes);
      if constexpr (kIndex < 2) return row.template field<3 * kIndex, 7>();
      if constexpr (kIndex == 2)
        return row.template field<6, 3>() |
               Unit::load_nibbles(masks + quad * kNibbleRow).template field<1, 4>();
    }
  }
  template <class Unit>
  static void store_quad(uint8_t* codes, uint8_t* masks, int quad, const Unit (&units)[4]) {
    const Unit low = units[2].template field<0, 3>(), third = units[2].template field<0, 4>();
    ((units[0] | units[1].template shl<3>()) | low.template shl<6>())
        .store(codes + quad * kUnitCodes);
    (units[3] | third.template shl<1>()).store_nibbles(masks + quad * kNibbleRow);
  }
};

}  // namespace kvkeep::KVKEEP_TARGET
