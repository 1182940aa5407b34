// nearest.h in plain vectors of kSearchLanes floats; included once per ISA, after that constant.
#pragma once

#include <cstdint>

#include "kernels/nearest.h"

namespace kvkeep::KVKEEP_TARGET {

inline constexpr int kSearchVecs = 4, kSearchBatch = kSearchLanes * kSearchVecs;
using Floats = float __attribute__((vector_size(sizeof(float) * kSearchLanes)));
using Ints = int32_t __attribute__((vector_size(sizeof(int32_t) * kSearchLanes)));

// x[k] holds coordinate k of the tuples. Indices grow, so a better one is found by a maximum; as
// floats, because the oldest machines have no maximum of ints.
template <int kP>
void nearest_batch(const PointSet& set, const Floats (&x)[kP][kSearchVecs],
                   Floats (&index)[kSearchVecs]) {
  Floats best[kSearchVecs];
  for (int v = 0; v < kSearchVecs; ++v) {
    best[v] = Floats{} - 1e30f;
    index[v] = Floats{};
  }
  const float* c = set.points;
  for (int j = 0; j < set.n; ++j, c += kP) {
    const Floats here = Floats{} + static_cast<float>(j);
    for (int v = 0; v < kSearchVecs; ++v) {
      Floats score = x[0][v] * c[0];
      for (int k = 1; k < kP; ++k) score += x[k][v] * c[k];
      score -= set.half_norms[j];
      const Floats top = score > best[v] ? score : best[v];
      const Ints better = top > best[v];
      const auto found = reinterpret_cast<Floats>(better & reinterpret_cast<Ints>(here));
      index[v] = found > index[v] ? found : index[v];
      best[v] = top;
    }
  }
}

template <int kP>
void nearest_of(const PointSet& set, const float* tuples, int count, uint8_t* indices) {
  for (int first = 0; first < count; first += kSearchBatch, tuples += kP * kSearchBatch) {
    const int n = count - first < kSearchBatch ? count - first : kSearchBatch;
    Floats x[kP][kSearchVecs] = {};
    for (int t = 0; t < n; ++t)
      for (int k = 0; k < kP; ++k) x[k][t / kSearchLanes][t % kSearchLanes] = tuples[t * kP + k];
    Floats found[kSearchVecs];
    nearest_batch<kP>(set, x, found);
    for (int t = 0; t < n; ++t)
      indices[first + t] = static_cast<uint8_t>(found[t / kSearchLanes][t % kSearchLanes]);
  }
}

inline void nearest(const PointSet& set, const float* tuples, int count, uint8_t* indices) {
  if (set.p == 1) return nearest_of<1>(set, tuples, count, indices);
  if (set.p == 2) return nearest_of<2>(set, tuples, count, indices);
  nearest_of<4>(set, tuples, count, indices);
}

const NearestFn kNearest = nearest;

}  // namespace kvkeep::KVKEEP_TARGET
