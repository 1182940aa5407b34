#include "kernels/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "kernels/test_parts.h"

namespace kvkeep {
namespace {

TEST(Rope, RotatesPairsInBothOrders) {
  for (const bool interleaved : {true, false}) {
    const int dim = 16, position = 1234;
    const Rope rope({.dim = dim, .base = 500.0f, .interleaved = interleaved});
    Rng rng(1);
    const auto in = random_floats(rng, 24);
    auto row = in;
    rope.apply(row.data(), position);
    for (size_t i = 0; i < 8; ++i) {
      const size_t a = interleaved ? 2 * i : i, b = interleaved ? 2 * i + 1 : i + 8;
      const double angle = position * std::pow(500.0, -2.0 * static_cast<double>(i) / dim);
      EXPECT_NEAR(row[a], in[a] * std::cos(angle) - in[b] * std::sin(angle), 1e-6);
      EXPECT_NEAR(row[b], in[a] * std::sin(angle) + in[b] * std::cos(angle), 1e-6);
    }
    for (size_t i = 16; i < 24; ++i) EXPECT_EQ(row[i], in[i]);  // beyond dim: passed through
  }
}

TEST(Rope, TheInverseRestoresTheRow) {
  for (const bool interleaved : {true, false})
    for (const int position : {0, 1, 77, 131071, 10000000}) {
      const Rope rope({.dim = 64, .base = 500000.0f, .interleaved = interleaved, .llama3 = true});
      Rng rng(2);
      const auto in = random_floats(rng, 64);
      auto row = in;
      rope.apply(row.data(), position);
      EXPECT_EQ(row == in, position == 0);
      rope.apply(row.data(), position, -1);
      for (size_t i = 0; i < 64; ++i) EXPECT_NEAR(row[i], in[i], 1e-6f);
    }
}

TEST(Rope, OnePositionForManyHeadsIsTheSameAsApply) {
  const Rope rope({.dim = 40, .interleaved = false});
  Rng rng(3);
  const auto in = random_floats(rng, 40);
  for (const int direction : {1, -1}) {
    auto a = in, b = in;
    float cos[20], sin[20];
    rope.angles(4321, cos, sin);
    rope.rotate(a.data(), cos, sin, direction);
    rope.apply(b.data(), 4321, direction);
    EXPECT_EQ(a, b);
  }
}

TEST(Rope, LinearScalingAndFactorsDivideFrequencies) {
  const Rope plain({.dim = 4}), linear({.dim = 4, .linear_factor = 4.0f});
  const Rope factors({.dim = 4, .factors = {2.0f, 8.0f}});
  for (size_t i = 0; i < 2; ++i)
    EXPECT_DOUBLE_EQ(linear.frequencies()[i], plain.frequencies()[i] / 4);
  EXPECT_DOUBLE_EQ(factors.frequencies()[0], plain.frequencies()[0] / 2);
  EXPECT_DOUBLE_EQ(factors.frequencies()[1], plain.frequencies()[1] / 8);
}

// The rule as the Llama 3.1 release states it: by wavelength, in bands.
TEST(Rope, Llama3ScalingFollowsTheWavelengths) {
  const Rope rope({.dim = 128, .base = 500000.0f, .llama3 = true});
  int kept = 0, slowed = 0, between = 0;
  for (size_t i = 0; i < 64; ++i) {
    const double frequency = 1.0 / std::pow(500000.0, static_cast<double>(2 * i) / 128);
    const double wavelength = 2 * std::numbers::pi / frequency;
    double want = frequency;
    if (wavelength > 8192.0 / 1.0) {
      want = frequency / 8;
      ++slowed;
    } else if (wavelength < 8192.0 / 4.0) {
      ++kept;
    } else {
      const double smooth = (8192.0 / wavelength - 1.0) / (4.0 - 1.0);
      want = (1 - smooth) * frequency / 8 + smooth * frequency;
      ++between;
    }
    EXPECT_NEAR(rope.frequencies()[i], want, 1e-12 * want);
  }
  EXPECT_GT(kept, 20);
  EXPECT_GT(slowed, 20);
  EXPECT_GT(between, 2);
}

}  // namespace
}  // namespace kvkeep
