#include "codec/grid.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "base/fail.h"

namespace kvkeep {
namespace {

// Four tuples at once in plain vectors, which every machine has and compilers do not find alone.
constexpr int kLanes = 4, kVecs = 4, kBatch = kLanes * kVecs;
using Floats = float __attribute__((vector_size(sizeof(float) * kLanes)));
using Ints = int32_t __attribute__((vector_size(sizeof(int32_t) * kLanes)));

// Nearest is greatest x . c - |c|^2 / 2. x[k] holds coordinate k of the tuples. Indices grow, so a
// better one is found by a maximum; as floats, because the oldest machines have no maximum of ints.
template <int kP>
void nearest_batch(const Grid& grid, const Floats (&x)[kP][kVecs], Floats (&index)[kVecs]) {
  Floats best[kVecs];
  for (int v = 0; v < kVecs; ++v) {
    best[v] = Floats{} - 1e30f;
    index[v] = Floats{};
  }
  const float* c = grid.points.data();
  for (int j = 0; j < grid.n; ++j, c += kP) {
    const float half = grid.half_norms[static_cast<size_t>(j)];
    const Floats here = Floats{} + static_cast<float>(j);
    for (int v = 0; v < kVecs; ++v) {
      Floats score = x[0][v] * c[0];
      for (int k = 1; k < kP; ++k) score += x[k][v] * c[k];
      score -= half;
      const Floats top = score > best[v] ? score : best[v];
      const Ints better = top > best[v];
      const Floats found = std::bit_cast<Floats>(better & std::bit_cast<Ints>(here));
      index[v] = found > index[v] ? found : index[v];
      best[v] = top;
    }
  }
}

template <int kP>
void nearest_of(const Grid& grid, const float* tuples, int count, uint8_t* indices) {
  for (int first = 0; first < count; first += kBatch, tuples += kP * kBatch) {
    const int n = std::min(kBatch, count - first);
    Floats x[kP][kVecs] = {};
    for (int t = 0; t < n; ++t)
      for (int k = 0; k < kP; ++k) x[k][t / kLanes][t % kLanes] = tuples[t * kP + k];
    Floats found[kVecs];
    nearest_batch<kP>(grid, x, found);
    for (int t = 0; t < n; ++t)
      indices[first + t] = static_cast<uint8_t>(found[t / kLanes][t % kLanes]);
  }
}

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
  if (grid.p == 1) return nearest_of<1>(grid, tuples, count, indices);
  if (grid.p == 2) return nearest_of<2>(grid, tuples, count, indices);
  KVKEEP_CHECK(grid.p == 4, "a grid of {} dimensions", grid.p);
  nearest_of<4>(grid, tuples, count, indices);
}

}  // namespace kvkeep
