#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "kernels/test_parts.h"

namespace kvkeep {
namespace {

// Weights in some format beside their values.
struct Matrix {
  std::vector<std::byte> bytes;
  std::vector<double> values;  // [m][n]
};

Matrix word_matrix(Rng& rng, size_t size, F16 (*narrow)(float), float (*widen)(F16)) {
  Matrix matrix{std::vector<std::byte>(2 * size), {}};
  for (size_t i = 0; i < size; ++i) {
    const F16 word = narrow(rng.normal());
    std::memcpy(&matrix.bytes[2 * i], &word, 2);
    matrix.values.push_back(widen(word));
  }
  return matrix;
}

Matrix q8_0_matrix(Rng& rng, size_t size) {
  Matrix matrix;
  for (size_t block = 0; block < size / 32; ++block) {
    const F16 scale = f32_to_f16(0.01f * rng.normal());
    matrix.bytes.resize(34 * (block + 1));
    std::memcpy(&matrix.bytes[34 * block], &scale, 2);
    for (size_t i = 0; i < 32; ++i) {
      const auto code = static_cast<int8_t>(static_cast<int>(rng.below(256)) - 128);
      std::memcpy(&matrix.bytes[34 * block + 2 + i], &code, 1);
      matrix.values.push_back(static_cast<double>(f16_to_f32(scale)) * code);
    }
  }
  return matrix;
}

void check_gemv(GemvFn gemv, const Matrix& matrix, Rng& rng, size_t m, size_t n) {
  const auto x = random_floats(rng, n);
  std::vector<float> y(m + 1, 5.0f);
  gemv(matrix.bytes.data(), x.data(), y.data(), static_cast<int64_t>(m), static_cast<int64_t>(n));
  for (size_t i = 0; i < m; ++i) {
    double sum = 0, magnitude = 0;
    for (size_t j = 0; j < n; ++j) {
      sum += matrix.values[i * n + j] * x[j];
      magnitude += std::abs(matrix.values[i * n + j] * x[j]);
    }
    ASSERT_NEAR(y[i], sum, 2e-6 * magnitude) << "row " << i << " of " << m << "x" << n;
  }
  EXPECT_EQ(y[m], 5.0f);
}

TEST(Gemv, EqualsADoubleSum) {
  for (const KernelTable* table : runnable_kernels()) {
    SCOPED_TRACE(table->name);
    Rng rng(6);
    for (const size_t m : {0, 1, 2, 3, 4, 5, 17})
      for (const size_t n : {1, 7, 8, 32, 61, 64, 96, 160, 288, 1000}) {
        check_gemv(table->gemv_f16, word_matrix(rng, m * n, f32_to_f16, f16_to_f32), rng, m, n);
        check_gemv(table->gemv_bf16, word_matrix(rng, m * n, f32_to_bf16, bf16_to_f32), rng, m, n);
        if (n % 32 == 0) check_gemv(table->gemv_q8_0, q8_0_matrix(rng, m * n), rng, m, n);
      }
  }
}

// Threads share the rows of a matrix: how they are cut must not show.
TEST(Gemv, RowsDoNotDependOnOneAnother) {
  for (const KernelTable* table : runnable_kernels()) {
    Rng rng(7);
    const Matrix matrix = q8_0_matrix(rng, 13 * 96);
    const auto x = random_floats(rng, 96);
    std::vector<float> together(13);
    table->gemv_q8_0(matrix.bytes.data(), x.data(), together.data(), 13, 96);
    for (size_t i = 0; i < 13; ++i) {
      float alone;
      table->gemv_q8_0(matrix.bytes.data() + i * 3 * 34, x.data(), &alone, 1, 96);
      EXPECT_EQ(alone, together[i]);
    }
  }
}

}  // namespace
}  // namespace kvkeep
