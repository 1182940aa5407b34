#include "codec/affine_map.h"

#include <gtest/gtest.h>

#include <array>
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

std::vector<float> apply(const AffineMap& map, const std::vector<std::vector<float>>& sources,
                         int rows) {
  std::vector<float> weights(map.shape().unpacked_floats());
  map.unpack(weights);
  std::vector<const float*> from;
  for (const auto& source : sources) from.push_back(source.data());
  std::vector<float> out(static_cast<size_t>(rows * map.shape().width));
  map.apply(weights, from, rows, out.data());
  return out;
}

TEST(AffineMap, AHandComputedMapOfTwoSources) {
  // y = (1, -1, 0, ...) + 2 x_0 at channel 0 of source 0, - x_1 at channel 3 of source 1.
  MapShape shape{.sources = 2, .width = 8};
  std::vector<float> w(2 * 8 * 8), bias(8);
  w[0] = 2;
  w[8 * 8 + 3 * 8 + 5] = -1;
  bias[0] = 1;
  bias[1] = -1;
  const AffineMap map(shape, w, bias);
  EXPECT_EQ(map.bytes(), (2 * 64 + 8) * 2u);
  const std::vector<float> a = {3, 0, 0, 0, 0, 0, 0, 0}, b = {0, 0, 0, 7, 0, 0, 0, 0};
  const std::vector<float> expected = {7, -1, 0, 0, 0, -7, 0, 0};
  EXPECT_EQ(apply(map, {a, b}, 1), expected);
}

TEST(AffineMap, FewerBitsCostABoundedError) {
  const std::vector<float> w = normals(128 * 64, 1), bias(64), x = normals(64, 2),
                           z = normals(64, 3);
  double power = 0;
  std::array<double, 3> errors{};
  const std::array bits = {16, 8, 4};
  for (size_t i = 0; i < bits.size(); ++i) {
    const AffineMap map({.sources = 2, .width = 64, .bits = bits[i]}, w, bias);
    const auto y = apply(map, {x, z}, 1);
    for (size_t c = 0; c < 64; ++c) {
      double exact = 0;
      for (size_t k = 0; k < 64; ++k)
        exact += double{w[k * 64 + c]} * x[k] + double{w[(64 + k) * 64 + c]} * z[k];
      errors[i] += (y[c] - exact) * (y[c] - exact);
      if (i == 0) power += exact * exact;
    }
  }
  EXPECT_LT(errors[0] / power, 1e-6);
  EXPECT_LT(errors[1] / power, 2e-4);
  EXPECT_LT(errors[2] / power, 3e-2);
  EXPECT_LT(errors[0], errors[1]);
  EXPECT_LT(errors[1], errors[2]);
}

TEST(AffineMap, HeadsSeeTheirOwnChannels) {
  const std::vector<float> w(2 * 16 * 16, 1.0f), bias(16);
  const AffineMap map({.sources = 2, .width = 16, .heads = 2}, w, bias);
  EXPECT_EQ(map.bytes(), (2 * 2 * 64 + 16) * 2u);
  std::vector<float> a(16, 0.0f), b(16, 0.0f);
  for (size_t c = 0; c < 8; ++c) a[c] = 1;
  b[15] = 3;
  const auto y = apply(map, {a, b}, 1);
  for (size_t c = 0; c < 16; ++c) EXPECT_EQ(y[c], c < 8 ? 8.0f : 3.0f) << c;
}

TEST(AffineMap, LowRankIsTheProductOfItsFactors) {
  std::vector<float> factors(8 * 2 + 2 * 8);
  factors[3 * 2 + 1] = 2;        // A: channel 3 to latent 1
  factors[8 * 2 + 8 + 6] = 0.5;  // B: latent 1 to channel 6
  const AffineMap map({.sources = 1, .width = 8, .rank = 2}, factors, std::vector<float>(8));
  std::vector<float> x(40 * 8);
  for (size_t row = 0; row < 40; ++row) x[row * 8 + 3] = static_cast<float>(row);
  const auto y = apply(map, {x}, 40);
  for (size_t row = 0; row < 40; ++row) EXPECT_EQ(y[row * 8 + 6], static_cast<float>(row));
}

TEST(AffineMap, StoredBytesReadBackAndRefuseWhatIsNotFinite) {
  for (const int bits : {16, 8, 4}) {
    const MapShape shape{.sources = 1, .width = 72, .bits = bits};
    const AffineMap map(shape, normals(72 * 72, 4), normals(72, 5));
    ASSERT_EQ(map.stored().size(), shape.stored_bytes());
    AffineMap again;
    ASSERT_TRUE(AffineMap::read(shape, map.stored(), &again));
    const std::vector<float> x = normals(72, 6);
    EXPECT_EQ(apply(again, {x}, 1), apply(map, {x}, 1));
    std::string bad(map.stored());
    bad[bad.size() - 1] = 0x7c;  // the last bias
    EXPECT_FALSE(AffineMap::read(shape, bad, &again));
  }
}

}  // namespace
}  // namespace kvkeep
