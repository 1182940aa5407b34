// add_products is the same bits on every instruction set and for any number of rows in a call.
#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "kernels/test_parts.h"

namespace kvkeep {
namespace {

// The definition: products in ascending order, each rounded, then added.
std::vector<float> defined(const std::vector<float>& x, const std::vector<float>& w, int rows,
                           int k, int n, std::vector<float> out) {
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < n; ++c)
      for (int i = 0; i < k; ++i) {
        volatile const float product =
            x[static_cast<size_t>(r * k + i)] * w[static_cast<size_t>(i * n + c)];
        out[static_cast<size_t>(r * n + c)] += product;
      }
  return out;
}

TEST(AddProducts, SameBitsOnEveryInstructionSetAndForAnyRows) {
  Rng rng(3);
  for (const auto& [rows, k, n] : {std::array{7, 33, 128}, {4, 128, 40}, {1, 8, 7}, {9, 64, 21}}) {
    const auto x = random_floats(rng, static_cast<size_t>(rows * k));
    const auto w = random_floats(rng, static_cast<size_t>(k * n));
    const auto start = random_floats(rng, static_cast<size_t>(rows * n));
    const auto expected = defined(x, w, rows, k, n, start);
    for (const KernelTable* table : runnable_kernels()) {
      auto whole = start, single = start;
      table->add_products(x.data(), k, rows, w.data(), k, n, whole.data(), n);
      for (int r = 0; r < rows; ++r)
        table->add_products(x.data() + r * k, k, 1, w.data(), k, n, single.data() + r * n, n);
      EXPECT_EQ(std::memcmp(whole.data(), expected.data(), whole.size() * 4), 0) << table->name;
      EXPECT_EQ(std::memcmp(single.data(), expected.data(), single.size() * 4), 0) << table->name;
    }
  }
}

}  // namespace
}  // namespace kvkeep
