#include "codec/grid.h"

#include <bit>

#include "base/fail.h"
#include "kernels/nearest.h"

namespace kvkeep {
namespace {

#define KVKEEP_GRID(p, n, mse, ...) constexpr int32_t kPoints_##p##_##n[] = {__VA_ARGS__};
#include "codec/grids.inc"
#undef KVKEEP_GRID

template <size_t kCount>
Grid make_grid(int p, int n, double mse, const int32_t (&points)[kCount]) {
  Grid grid{p, n, mse, {}, std::vector<float>(static_cast<size_t>(n))};
  for (size_t i = 0; i < kCount; ++i) {
    grid.points.push_back(1e-5f * static_cast<float>(points[i]));
    grid.half_norms[i / static_cast<size_t>(p)] += 0.5f * grid.points[i] * grid.points[i];
  }
  return grid;
}

}  // namespace

int Grid::bits() const { return std::bit_width(static_cast<unsigned>(n)) - 1; }

const std::vector<Grid>& grids() {
  static const std::vector<Grid> list = {
#define KVKEEP_GRID(p, n, mse, ...) make_grid(p, n, mse, kPoints_##p##_##n),
#include "codec/grids.inc"
#undef KVKEEP_GRID
  };
  return list;
}

Result<const Grid*> find_grid(int p, int n) {
  std::string names;
  for (const Grid& grid : grids()) {
    if (grid.p == p && grid.n == n) return &grid;
    names += fmt::format("{}{} in {}", names.empty() ? "" : ", ", grid.n, grid.p);
  }
  return bad_input("no grid of {} points in {} dimensions; allowed: {}", n, p, names);
}

void nearest(const Grid& grid, const float* tuples, int count, uint8_t* indices) {
  static const NearestFn search = nearest_kernel();
  search({grid.points.data(), grid.half_norms.data(), grid.n, grid.p}, tuples, count, indices);
}

}  // namespace kvkeep
