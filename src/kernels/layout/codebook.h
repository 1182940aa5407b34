// Codebooks of c2, c3 and c4: what their codes stand for. The points are those of least error for a
// normal value (Lloyd and Max; codec/grid.h), brought to a scale on which they are nearly small
// integers and rounded, so that a byte looked up is multiplied like any other code. kPerSigma is
// that scale. The rounding costs 0.2, 1.0 and 0.9 % of their mean squared error; larger integers
// would cost less, but a narrow sum takes fewer of them before it overflows (attend_codes.h).
//
//   value = scale * (kPoints[code] - kTop / 2)
#pragma once

#include <cstdint>

namespace kvkeep::KVKEEP_TARGET {

template <int kBits>
struct Codebook;

template <>
struct Codebook<2> {
  static constexpr int kTop = 14;
  static constexpr float kPerSigma = 4.6252f;
  static constexpr uint8_t kPoints[16] = {0, 5, 9, 14};
};

template <>
struct Codebook<3> {
  static constexpr int kTop = 16;
  static constexpr float kPerSigma = 3.7454f;
  static constexpr uint8_t kPoints[16] = {0, 3, 5, 7, 9, 11, 13, 16};
};

template <>
struct Codebook<4> {
  static constexpr int kTop = 59;
  static constexpr float kPerSigma = 10.8656f;
  static constexpr uint8_t kPoints[16] = {0,  7,  12, 16, 19, 22, 25, 28,
                                          31, 34, 37, 40, 43, 47, 52, 59};
};

// The code of the nearest point, by floor(2 * place), where place is in [0, kTop].
template <int kBits>
struct NearestCodes {
  uint8_t at[2 * Codebook<kBits>::kTop + 1];

  constexpr NearestCodes() : at() {
    const auto& points = Codebook<kBits>::kPoints;
    uint8_t code = 0;
    for (int i = 0; i <= 2 * Codebook<kBits>::kTop; ++i) {
      while (code + 1 < 1 << kBits && points[code] + points[code + 1] <= i) ++code;
      at[i] = code;
    }
  }
};

}  // namespace kvkeep::KVKEEP_TARGET
