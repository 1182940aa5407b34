// 5 bits: a quad takes 160 bytes. Half of the codes lie whole in a byte, the others split 3 + 2.
//
//   code plane, 128 bytes a quad:   row i of two: bits 0-4 unit i | bits 5-7 unit 2 + i, high bits
//   second plane, 32 bytes a quad:  bits 0-1 unit 2, low bits | bits 2-3 unit 3, low bits;
//                                   lanes 0-31 in the low nibbles, 32-63 in the high ones
#pragma once

#include "kernels/layout/codes.h"

namespace kvkeep::KVKEEP_TARGET {

template <>
struct Codes<5> {
  static constexpr int kUnitsPerRow = 2;
  static constexpr int kMaskBytes = 8;
  static constexpr int kTop = 31;
  static constexpr int kQuadRow = 2 * kUnitCodes, kNibbleRow = 4 * kMaskBytes;

  static unsigned load(const uint8_t* codes, const uint8_t* masks, int unit, int lane) {
    const unsigned row = codes[unit / 4 * kQuadRow + unit % 2 * kUnitCodes + lane];
    if (unit % 4 < 2) return row & 31u;
    const unsigned nibble = masks[unit / 4 * kNibbleRow + lane % 32] >> (lane / 32 * 4);
    return row >> 5 << 2 | (nibble >> (unit % 2 * 2) & 3u);
  }
  static void store(uint8_t* codes, uint8_t* masks, int unit, int lane, unsigned code) {
    uint8_t* row = codes + unit / 4 * kQuadRow + unit % 2 * kUnitCodes + lane;
    if (unit % 4 < 2) return set_bits(row, 0, 5, code);
    set_bits(row, 5, 3, code >> 2);
    set_bits(masks + unit / 4 * kNibbleRow + lane % 32, lane / 32 * 4 + unit % 2 * 2, 2, code);
  }
  template <class Unit, int kIndex>
  static Unit unit(const uint8_t* codes, const uint8_t* masks, int quad) {
    const Unit row = Unit::load(codes + quad * kQuadRow + kIndex % 2 * kUnitCodes);
    if constexpr (kIndex < 2) return row.template field<0, 31>();
    if constexpr (kIndex >= 2)
      return row.template field<3, 28>() |
             Unit::load_nibbles(masks + quad * kNibbleRow).template field<kIndex % 2 * 2, 3>();
  }
  template <class Unit>
  static void store_quad(uint8_t* codes, uint8_t* masks, int quad, const Unit (&units)[4]) {
    uint8_t* rows = codes + quad * kQuadRow;
    (units[0] | units[2].template field<2, 7>().template shl<5>()).store(rows);
    (units[1] | units[3].template field<2, 7>().template shl<5>()).store(rows + kUnitCodes);
    (units[2].template field<0, 3>() | units[3].template field<0, 3>().template shl<2>())
        .store_nibbles(masks + quad * kNibbleRow);
  }
};

}  // namespace kvkeep::KVKEEP_TARGET
