#include "kernels/gemm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/thread_pool.h"
#include "kernels/test_parts.h"

namespace kvkeep {
namespace {

void check_gemm(bool transposed, int m, int n, int k, float alpha, float beta) {
  Rng rng(8);
  const int lda = k + 3, ldb = (transposed ? k : n) + 2, ldc = n + 1;
  const auto a = random_floats(rng, static_cast<size_t>(m * lda));
  const auto b = random_floats(rng, static_cast<size_t>((transposed ? n : k) * ldb));
  const auto before = random_floats(rng, static_cast<size_t>(m * ldc));
  auto c = before;
  (transposed ? gemm_nt : gemm_nn)(m, n, k, alpha, a.data(), lda, b.data(), ldb, beta, c.data(),
                                   ldc);
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < ldc; ++j) {
      const auto at = static_cast<size_t>(i * ldc + j);
      if (j == n) {
        ASSERT_EQ(c[at], before[at]);
        continue;
      }
      double sum = 0, magnitude = 0;
      for (int p = 0; p < k; ++p) {
        const double x = a[static_cast<size_t>(i * lda + p)];
        const double y = b[static_cast<size_t>(transposed ? j * ldb + p : p * ldb + j)];
        sum += x * y;
        magnitude += std::abs(x * y);
      }
      const double old = beta == 0 ? 0 : beta * before[at];
      ASSERT_NEAR(c[at], alpha * sum + old, 1e-5 * (magnitude + std::abs(old)))
          << m << "x" << n << "x" << k;
    }
}

TEST(Gemm, EqualsADoubleSumOnOddSizes) {
  for (const bool transposed : {true, false})
    for (const int m : {1, 2, 7, 33, 64})
      for (const int n : {1, 5, 17, 64, 129})
        for (const int k : {1, 3, 31, 64, 257}) {
          check_gemm(transposed, m, n, k, 1.0f, 0.0f);
          check_gemm(transposed, m, n, k, 0.125f, 1.0f);
        }
}

// The first calls come from several threads at once, as in a prompt.
TEST(Gemm, ConcurrentCallsGiveTheSameBits) {
  constexpr int kItems = 16, m = 37, n = 65, k = 129;
  Rng rng(9);
  const auto a = random_floats(rng, m * k), b = random_floats(rng, n * k);
  std::vector<std::vector<float>> c(kItems, std::vector<float>(m * n));
  ThreadPool pool(4);
  pool.run(kItems, [&](int64_t item, int) {
    gemm_nt(m, n, k, 1.0f, a.data(), k, b.data(), k, 0.0f, c[static_cast<size_t>(item)].data(), n);
  });
  for (const auto& result : c) EXPECT_EQ(result, c[0]);
}

}  // namespace
}  // namespace kvkeep
