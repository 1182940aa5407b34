// out += x W for the small dense maps with which a codec predicts rows from other rows.
//
// What was coded against a prediction must be decoded against the same one, bit for bit, wherever
// that happens. So every output adds its products in ascending order of k, each rounded before it
// is added (lanes are outputs; there is no FMA): the result depends neither on the instruction set
// nor on how many rows share a call.
#pragma once

#include <cstddef>

#include "kernels/vector_ops.h"

namespace kvkeep::KVKEEP_TARGET {

template <int kRows, int kVecs>
void add_products_block(const float* x, int x_stride, const float* w, int k, int n, float* out,
                        int out_stride) {
  Vec sums[kRows][kVecs];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVecs; ++v) sums[r][v] = load(out + r * out_stride + v * kLanes);
  for (int i = 0; i < k; ++i, w += n) {
    Vec row[kVecs];
    for (int v = 0; v < kVecs; ++v) row[v] = load(w + v * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const Vec factor = set(x[r * x_stride + i]);
      for (int v = 0; v < kVecs; ++v) sums[r][v] = sums[r][v] + factor * row[v];
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVecs; ++v) store(out + r * out_stride + v * kLanes, sums[r][v]);
}

template <int kRows>
void add_products_rows(const float* x, int x_stride, const float* w, int k, int n, float* out,
                       int out_stride) {
  int c = 0;
  for (; c + 2 * kLanes <= n; c += 2 * kLanes)
    add_products_block<kRows, 2>(x, x_stride, w + c, k, n, out + c, out_stride);
  for (; c + kLanes <= n; c += kLanes)
    add_products_block<kRows, 1>(x, x_stride, w + c, k, n, out + c, out_stride);
  for (; c < n; ++c)
    for (int r = 0; r < kRows; ++r) {
      float sum = out[r * out_stride + c];
      for (int i = 0; i < k; ++i) {
        const float product = x[r * x_stride + i] * w[static_cast<ptrdiff_t>(i) * n + c];
        sum = sum + product;
      }
      out[r * out_stride + c] = sum;
    }
}

inline void add_products(const float* x, int x_stride, int rows, const float* w, int k, int n,
                         float* out, int out_stride) {
  int r = 0;
  for (; r + 4 <= rows; r += 4)
    add_products_rows<4>(x + static_cast<ptrdiff_t>(r) * x_stride, x_stride, w, k, n,
                         out + static_cast<ptrdiff_t>(r) * out_stride, out_stride);
  for (; r < rows; ++r)
    add_products_rows<1>(x + static_cast<ptrdiff_t>(r) * x_stride, x_stride, w, k, n,
                         out + static_cast<ptrdiff_t>(r) * out_stride, out_stride);
}

}  // namespace kvkeep::KVKEEP_TARGET
