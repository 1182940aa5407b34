// Grids: the n points of p dimensions that stand for standard normal tuples with the least mean
// squared error. After a rotation and a division by its norm, a row of keys or values is close to
// standard normal, so one set of constants serves every model (HIGGS, Malinovskii et al. 2024,
// arXiv 2411.17525).
//
//   p = 1   Lloyd and Max's scalar codebooks, symmetric; 1 to 4 bits
//   p = 2   16, 64, 256 points: 2, 3, 4 bits a value
//   p = 4   16, 64, 256 points: 1, 1.5, 2 bits a value
//
// They are constants (grids.inc), computed from a seed by tools/grids/gaussian_grids.cc. A point is
// the mean of its cell, so E[x * point] = E[point^2] = 1 - mse: what a grid gives back is shorter
// than what it was given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kvkeep/error.h"

namespace kvkeep {

struct Grid {
  int p = 0, n = 0;               // n is a power of two, at most 256
  double mse = 0;                 // per value of N(0, 1), as measured
  std::vector<float> points;      // [n][p]
  std::vector<float> half_norms;  // [n]: |point|^2 / 2

  int bits() const;  // of an index
  double bits_per_value() const { return static_cast<double>(bits()) / p; }
};

// bad_input names the grids there are.
Result<const Grid*> find_grid(int p, int n);
const std::vector<Grid>& grids();

// indices[count] of the points nearest to tuples[count][p], finite; of two as near, the lower one.
// The same on every machine: the order of every sum is fixed.
void nearest(const Grid& grid, const float* tuples, int count, uint8_t* indices);

}  // namespace kvkeep
