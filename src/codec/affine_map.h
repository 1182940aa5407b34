// y = bias + sum over sources s of x_s W_s: how a predictor guesses a row of keys or values from
// rows that are already decoded. Weights are held at 16, 8 or 4 bits, because at small caches they
// are most of what a predictor costs; they are unpacked to float32 for the layer that is read.
//
//   heads == 1, rank == 0    W [sources * width][width]
//   heads == H               a block a head: its outputs see its own channels of every source
//   rank == R                W = A B, A [sources * width][R], B [R][width]
//
// 16 bits are f16; 8 and 4 bits are symmetric codes with an f16 scale for 64 inputs of an output.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/half.h"

namespace kvkeep {

inline constexpr int kMostSources = 2;

struct MapShape {
  int sources = 0, width = 0;
  int heads = 1, rank = 0, bits = 16;
  bool constant = true;  // there is a bias; without it and without sources y = 0

  size_t stored_bytes() const;     // of weights, scales and bias
  size_t unpacked_floats() const;  // of the weights
};

class AffineMap {
 public:
  AffineMap() = default;
  // Rounds to what is stored. weights: W [sources * width][width], of which per-head maps take
  // their blocks; with a rank A, then B.
  AffineMap(const MapShape& shape, std::span<const float> weights, std::span<const float> bias);

  const MapShape& shape() const { return shape_; }
  size_t bytes() const { return bytes_.capacity(); }

  // Weights as float32, [unpacked_floats].
  void unpack(std::span<float> weights) const;
  // out [rows][width] = the prediction from sources [rows][width] each. Bit for bit the same
  // however rows are grouped into calls, on every instruction set.
  void apply(std::span<const float> unpacked, std::span<const float* const> sources, int rows,
             float* out) const;

  std::string_view stored() const { return {bytes_.data(), bytes_.size()}; }
  // From stored(), of exactly shape.stored_bytes(); false if a scale, weight or bias is not finite.
  static bool read(const MapShape& shape, std::string_view stored, AffineMap* map);

 private:
  MapShape shape_;
  std::string bytes_;  // [matrices: codes, scales][bias]
};

}  // namespace kvkeep
