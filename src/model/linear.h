// Products of activations with weight matrices, shared by all threads.
//
// Few tokens: matrix-vector kernels that read the stored weights once for all of them. Many: panels
// of rows are dequantized to float32 by the worker that multiplies them. The split into items
// depends on sizes alone, so results do not depend on the number of threads.
#pragma once

#include <cstdint>
#include <span>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "kernels/kernel_table.h"
#include "model/weights.h"

namespace kvkeep {

// out[t][i] = sum_j weights[i][j] * x[t][j] + bias[i], out [tokens][stride].
struct Product {
  const Matrix* weights = nullptr;
  float* out = nullptr;
  int64_t stride = 0;
  std::span<const float> bias = {};
};

// Up to this many tokens the matrix-vector kernels are faster (measured: they meet at 5 or 6).
inline constexpr int kGemvTokens = 4;

// Floats a worker needs for its panel of any matrix with up to that many columns.
int64_t panel_floats(int64_t columns);

struct LinearScratch {
  AlignedBuffer<float> panels;  // one a worker; grows to what the pool's size asks for
  int64_t panel_floats = 0;     // of the widest matrix
};

// All products of one x [tokens][columns]; every matrix has that many columns. by_row: each token's
// products have the bits they have alone, so the matrix-vector kernels serve any number of tokens.
void multiply(std::span<const Product> products, const float* x, int tokens,
              const KernelTable& kernels, ThreadPool& pool, LinearScratch& scratch,
              bool by_row = false);

// One row as float32.
void read_row(const Matrix& matrix, int64_t row, const KernelTable& kernels, float* out);

}  // namespace kvkeep
