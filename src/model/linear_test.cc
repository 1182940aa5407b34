#include "model/linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/half.h"
#include "base/rng.h"
#include "kernels/isa.h"

namespace kvkeep {
namespace {

// A random matrix of one type with the values it stands for.
struct Sample {
  Matrix matrix;
  AlignedBuffer<std::byte> bytes;
  std::vector<float> values;  // [rows][columns]
};

Sample random_matrix(TensorType type, int64_t rows, int64_t columns, Rng& rng) {
  Sample s;
  const BlockSize block = tensor_block_size(type);
  const auto row_bytes = static_cast<size_t>(columns / block.values * block.bytes);
  s.bytes.resize(row_bytes * static_cast<size_t>(rows));
  for (size_t i = 0; i < s.bytes.size(); ++i) s.bytes[i] = static_cast<std::byte>(rng.next());
  const auto put = [&](size_t at, uint16_t word) { std::memcpy(&s.bytes[at], &word, 2); };
  if (type == TensorType::q8_0)
    for (size_t at = 0; at < s.bytes.size(); at += 34) put(at, f32_to_f16(rng.uniform() / 64));
  else
    for (size_t at = 0; at < s.bytes.size(); at += 2)
      put(at, type == TensorType::f16 ? f32_to_f16(rng.normal()) : f32_to_bf16(rng.normal()));
  s.matrix = {type, s.bytes.data(), rows, columns, row_bytes};
  s.values.resize(static_cast<size_t>(rows * columns));
  dequantize(type, s.bytes.data(), s.values.data(), rows * columns);
  return s;
}

std::vector<float> reference(const Sample& s, const std::vector<float>& x, int tokens,
                             const std::vector<float>& bias) {
  const auto rows = static_cast<size_t>(s.matrix.rows);
  const auto columns = static_cast<size_t>(s.matrix.columns);
  std::vector<float> out;
  for (size_t t = 0; t < static_cast<size_t>(tokens); ++t)
    for (size_t i = 0; i < rows; ++i) {
      double sum = bias.empty() ? 0 : bias[i];
      for (size_t j = 0; j < columns; ++j)
        sum += static_cast<double>(s.values[i * columns + j]) * x[t * columns + j];
      out.push_back(static_cast<float>(sum));
    }
  return out;
}

void expect_near(const std::vector<float>& a, const std::vector<float>& b, float tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], tolerance) << i;
}

TEST(Linear, EveryStoredTypeMultipliesAsItsValuesSay) {
  Rng rng(1);
  ThreadPool pool(2);
  for (TensorType type : {TensorType::f16, TensorType::bf16, TensorType::q8_0})
    for (const KernelTable* kernels : runnable_kernels())
      for (int tokens : {1, kGemvTokens, kGemvTokens + 1, 37}) {
        const Sample a = random_matrix(type, 131, 96, rng), b = random_matrix(type, 7, 96, rng);
        std::vector<float> x(static_cast<size_t>(tokens) * 96), bias(131);
        for (float& value : x) value = rng.normal();
        for (float& value : bias) value = rng.normal();
        std::vector<float> out_a(static_cast<size_t>(tokens) * 131);
        std::vector<float> out_b(static_cast<size_t>(tokens) * 7);
        LinearScratch scratch;
        scratch.panel_floats = panel_floats(96);
        const Product products[] = {{&a.matrix, out_a.data(), 131, bias},
                                    {&b.matrix, out_b.data(), 7}};
        multiply(products, x.data(), tokens, *kernels, pool, scratch);
        expect_near(out_a, reference(a, x, tokens, bias), 1e-3f);
        expect_near(out_b, reference(b, x, tokens, {}), 1e-3f);
      }
}

TEST(Linear, ReadsRowsExactly) {
  Rng rng(2);
  for (TensorType type : {TensorType::f16, TensorType::bf16, TensorType::q8_0}) {
    const Sample s = random_matrix(type, 5, 64, rng);
    std::vector<float> row(64);
    for (const KernelTable* kernels : runnable_kernels()) {
      read_row(s.matrix, 3, *kernels, row.data());
      EXPECT_EQ(row, std::vector<float>(s.values.begin() + 3 * 64, s.values.begin() + 4 * 64));
    }
  }
}

}  // namespace
}  // namespace kvkeep
