// The nearest of a few points for each of many tuples: what coding a row by a grid costs.
//
// Nearest is greatest x . c - |c|^2 / 2, products summed in order of the coordinates and not fused,
// so the choice is the same on every instruction set; of two as near, the lower index. A function
// of its own beside KernelTable, compiled for as many lanes as the machine has.
#pragma once

#include <cstdint>

namespace kvkeep {

struct PointSet {
  const float* points;      // [n][p]
  const float* half_norms;  // [n]: |point|^2 / 2
  int n, p;                 // n <= 256; p is 1, 2 or 4
};

// indices[count] of the points nearest to tuples[count][p], which are finite.
using NearestFn = void (*)(const PointSet& set, const float* tuples, int count, uint8_t* indices);

NearestFn nearest_kernel();  // of the instruction set that kernels() runs

namespace scalar {
extern const NearestFn kNearest;
}
namespace avx2 {
extern const NearestFn kNearest;
}
namespace avx512 {
extern const NearestFn kNearest;
}

}  // namespace kvkeep
