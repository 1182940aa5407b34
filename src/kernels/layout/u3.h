// 3 bits: the low two as a 2-bit layout, the third in one 64-bit mask a unit (bit = lane), so that
// a vector kernel adds it with one masked operation.
#pragma once

#include "kernels/layout/u2.h"

namespace kvkeep::KVKEEP_TARGET {

template <>
struct Codes<3> {
  using Low = Codes<2>;
  static constexpr int kUnitsPerRow = Low::kUnitsPerRow;
  static constexpr int kMaskBytes = 8;

  static unsigned load(const uint8_t* codes, const uint8_t* masks, int unit, int lane) {
    const unsigned high = (masks[kMaskBytes * unit + lane / 8] >> (lane % 8)) & 1u;
    return Low::load(codes, nullptr, unit, lane) | high << 2;
  }
  static void store(uint8_t* codes, uint8_t* masks, int unit, int lane, unsigned code) {
    Low::store(codes, nullptr, unit, lane, code & 3u);
    set_bits(masks + kMaskBytes * unit + lane / 8, lane % 8, 1, code >> 2);
  }
  template <class Unit>
  static Unit load_unit(const uint8_t* codes, const uint8_t* masks, int unit) {
    const Unit low = Low::load_unit<Unit>(codes, nullptr, unit);
    return low.or_bit_where(masks + kMaskBytes * unit, 2);
  }
  template <class Unit>
  static void store_quad(uint8_t* codes, uint8_t* masks, int quad, const Unit (&units)[4]) {
    uint8_t bytes[kUnitCodes];
    for (int i = 0; i < 4; ++i) {
      units[i].store(bytes);
      for (int lane = 0; lane < kUnitCodes; ++lane)
        store(codes, masks, 4 * quad + i, lane, bytes[lane]);
    }
  }
};

}  // namespace kvkeep::KVKEEP_TARGET
