#include "codec/ridge.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"

namespace kvkeep {
namespace {

TEST(SolveSpd, AHandComputedSystem) {
  std::vector<double> a = {4, 2, 2, 3}, b = {2, 8, 5, 7};  // [2][2] each
  ASSERT_TRUE(solve_spd(a, 2, b, 2));
  EXPECT_NEAR(b[0], -0.5, 1e-12);
  EXPECT_NEAR(b[2], 2.0, 1e-12);
  EXPECT_NEAR(b[1], 1.25, 1e-12);
  EXPECT_NEAR(b[3], 1.5, 1e-12);
  std::vector<double> indefinite = {1, 2, 2, 1}, any = {1, 1};
  EXPECT_FALSE(solve_spd(indefinite, 2, any, 1));
}

TEST(LeadingEigenvectors, OfADiagonal) {
  const auto v = leading_eigenvectors({1, 0, 0, 0, 9, 0, 0, 0, 4}, 3, 2);
  EXPECT_NEAR(std::fabs(v[1]), 1, 1e-9);
  EXPECT_NEAR(std::fabs(v[5]), 1, 1e-9);
}

// y = 3 + x W with W of rank 1, some noise, inputs far from zero.
struct Data {
  std::vector<float> x, y;
};
Data make_data(int rows, int inputs, int outputs) {
  Rng rng(5);
  Data data;
  for (int r = 0; r < rows; ++r) {
    float along = 0;
    for (int i = 0; i < inputs; ++i) {
      data.x.push_back(10.0f + rng.normal());
      along += data.x.back() * static_cast<float>(i + 1);
    }
    for (int o = 0; o < outputs; ++o)
      data.y.push_back(3.0f + along * static_cast<float>(o - 1) + 0.01f * rng.normal());
  }
  return data;
}

TEST(Ridge, FindsTheMapInAnyPortionsAndAtAnyRank) {
  const Data data = make_data(1000, 4, 4);
  for (const int step : {1000, 77}) {
    for (const int rank : {0, 1}) {
      Ridge ridge(4, 4);
      for (int row = 0; row < 1000; row += step)
        ridge.add(data.x.data() + row * 4, data.y.data() + row * 4, std::min(step, 1000 - row));
      const RidgeMap map = ridge.solve(1e-6, rank);
      for (size_t o = 0; o < 4; ++o) {
        EXPECT_NEAR(map.bias[o], 3.0f, 0.15f);
        for (size_t i = 0; i < 4; ++i) {
          const double expected = static_cast<double>(i + 1) * (static_cast<double>(o) - 1);
          const float weight = rank ? map.weights[i] * map.weights[4 + o] : map.weights[i * 4 + o];
          EXPECT_NEAR(weight, expected, 5e-3) << "step " << step << ", rank " << rank;
        }
      }
    }
  }
}

TEST(Ridge, ConstantInputsGiveTheMean) {
  std::vector<float> x(64 * 2, 5.0f), y;
  for (int i = 0; i < 64; ++i) y.insert(y.end(), {static_cast<float>(i), 1.0f});
  Ridge ridge(2, 2);
  ridge.add(x.data(), y.data(), 64);
  const RidgeMap map = ridge.solve(1e-3);
  EXPECT_NEAR(map.bias[0], 31.5f, 1e-4);
  EXPECT_NEAR(map.bias[1], 1.0f, 1e-6);
  for (const float weight : map.weights) EXPECT_EQ(weight, 0.0f);
}

}  // namespace
}  // namespace kvkeep
