// HIGGS: vector quantization of a row of any length that is a multiple of 8 (Malinovskii et al.
// 2024, arXiv 2411.17525; for caches: AQUA-KV, Shutova et al. 2025, arXiv 2501.19392).
//
//   y = rotate(x) / rms;  index = nearest grid point of each p values;  code = [indices][rms]
//   x' = rotate^-1(points * rms)
//
// The rotation is a Walsh-Hadamard transform behind random signs. AQUA-KV has no signs: then a row
// that is nearly constant becomes one spike far outside the grid. Where d is no power of two the
// rotation is two, overlapping: of the first P values and then of the last P, P the largest power
// of two below d. So nothing is padded, and one scale serves the whole row.
//
// A code has d/p indices of log2(n) bits, lowest bits first, then the scale in f16: d * log2(n) / p
// + 16 bits. Codes and decoded rows are the same on every machine. One object serves any threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "codec/grid.h"

namespace kvkeep {

// What the stored scale is, times the points: it costs nothing to read.
enum class HiggsScale : uint8_t {
  norm,           // the root mean square of the row: HIGGS
  least_squares,  // least error of the row
  unbiased,       // <x, x'> = <x, x>: dot products keep their mean (EDEN, arXiv 2108.08842)
};

struct HiggsSpec {
  int p = 2, n = 16;  // the grid
  uint64_t seed = 1;  // of the signs
  bool signs = true;
  HiggsScale scale = HiggsScale::norm;
};

class Higgs {
 public:
  static constexpr int kMaxLength = 1 << 16;

  // bad_input: no such grid, or d is not a multiple of 8 in [8, kMaxLength].
  static Result<Higgs> make(const HiggsSpec& spec, int d);

  int length() const { return d_; }
  size_t row_bytes() const {
    return static_cast<size_t>((d_ / grid_->p * grid_->bits() + 7) / 8 + 2);
  }
  double bits_per_value() const { return 8.0 * static_cast<double>(row_bytes()) / d_; }

  // rows [count][d] to codes [count][row_bytes()]. An error names the row that has a value or a
  // scale that is not finite; codes before it are written.
  Result<void> encode(const float* rows, int count, std::byte* codes) const;
  // Any bytes decode: a scale that is not finite gives values that are not.
  void decode(const std::byte* codes, int count, float* rows) const;

  void rotate(float* row) const;  // orthonormal
  void rotate_back(float* row) const;

 private:
  Higgs(const HiggsSpec& spec, const Grid& grid, int d);
  float scale_of(const float* rotated, const uint8_t* indices, float rms) const;

  const Grid* grid_;
  HiggsScale scale_;
  int d_, block_;             // block_: P
  std::vector<float> signs_;  // [d] of the first rotation, [P] of the second
};

}  // namespace kvkeep
