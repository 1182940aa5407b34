#include "codec/grid.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"

namespace kvkeep {
namespace {

std::vector<float> normals(size_t n, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> x(n);
  for (float& value : x) value = rng.normal();
  return x;
}

// Mean squared error per value; *power is that of what the grid gives back.
double error_of(const Grid& grid, const std::vector<float>& x, double* power) {
  const int tuples = static_cast<int>(x.size()) / grid.p;
  std::vector<uint8_t> indices(static_cast<size_t>(tuples));
  nearest(grid, x.data(), tuples, indices.data());
  double error = 0;
  *power = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const auto p = static_cast<size_t>(grid.p);
    const double point = grid.points[indices[i / p] * p + i % p];
    error += (x[i] - point) * (x[i] - point);
    *power += point * point;
  }
  *power /= static_cast<double>(x.size());
  return error / static_cast<double>(x.size());
}

TEST(Grid, MeanSquaredErrorOnNormalValues) {
  const std::vector<float> x = normals(500'000, 3);
  const auto error = [&](int p, int n) {
    double power;
    return error_of(**find_grid(p, n), x, &power);
  };
  EXPECT_LE(error(2, 16), 0.1080);
  EXPECT_LE(error(2, 64), 0.0300);
  EXPECT_LE(error(2, 256), 0.0079);
  EXPECT_LE(error(4, 16), 0.343);
  EXPECT_LE(error(4, 64), 0.185);
  EXPECT_LE(error(4, 256), 0.0975);
  EXPECT_NEAR(error(1, 2), 1 - 2 / std::acos(-1.0), 0.003);
  EXPECT_NEAR(error(1, 4), 0.1175, 0.001);
  EXPECT_NEAR(error(1, 8), 0.03454, 0.0004);
  EXPECT_NEAR(error(1, 16), 0.009497, 0.0001);
}

TEST(Grid, StatesItsError) {
  const std::vector<float> x = normals(200'000, 4);
  for (const Grid& grid : grids()) {
    double power;
    const double error = error_of(grid, x, &power);
    EXPECT_NEAR(error / grid.mse, 1, 0.015) << grid.n << " points in " << grid.p;
    EXPECT_NEAR(power, 1 - grid.mse, 0.01) << "points are the means of their cells";
  }
}

// Lloyd and Max's optimum in closed form: 1 bit stands for the mean of |x|.
TEST(Grid, ScalarGridsAreSymmetricAndLloydMax) {
  const Grid& one = **find_grid(1, 2);
  EXPECT_NEAR(one.points[1], std::sqrt(2 / std::acos(-1.0)), 1e-5);
  const Grid& two = **find_grid(1, 4);
  EXPECT_NEAR(two.points[2], 0.4528, 1e-4);
  EXPECT_NEAR(two.points[3], 1.5104, 1e-4);
  for (const int n : {2, 4, 8, 16}) {
    const std::vector<float>& points = (*find_grid(1, n))->points;
    for (size_t i = 0; i < points.size(); ++i) {
      EXPECT_EQ(points[i], -points[points.size() - 1 - i]);
      EXPECT_TRUE(i == 0 || points[i - 1] < points[i]);
    }
  }
}

TEST(Grid, NearestIsNearest) {
  for (const Grid& grid : grids()) {
    const auto p = static_cast<size_t>(grid.p);
    const std::vector<float> x = normals(p * 77, 5);
    std::vector<uint8_t> indices(77);
    nearest(grid, x.data(), 77, indices.data());
    for (size_t i = 0; i < indices.size(); ++i) {
      const auto distance = [&](size_t j) {
        double square = 0;
        for (size_t k = 0; k < p; ++k) {
          const double difference = double{x[i * p + k]} - grid.points[j * p + k];
          square += difference * difference;
        }
        return square;
      };
      double least = distance(0);
      for (size_t j = 1; j < static_cast<size_t>(grid.n); ++j) least = std::min(least, distance(j));
      EXPECT_NEAR(distance(indices[i]), least, 1e-6);
    }
  }
}

TEST(Grid, UnknownGridsAreRefused) {
  const auto grid = find_grid(6, 4096);
  ASSERT_FALSE(grid);
  EXPECT_EQ(grid.error().message,
            "no grid of 4096 points in 6 dimensions; allowed: 2 in 1, 4 in 1, 8 in 1, 16 in 1, "
            "16 in 2, 64 in 2, 256 in 2, 16 in 4, 64 in 4, 256 in 4");
}

}  // namespace
}  // namespace kvkeep
