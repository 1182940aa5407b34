#include "codec/higgs.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "base/half.h"
#include "base/rng.h"

namespace kvkeep {
namespace {

constexpr int kLengths[] = {8, 24, 40, 64, 192, 320, 1024};

Higgs make(const HiggsSpec& spec, int d) {
  auto higgs = Higgs::make(spec, d);
  EXPECT_TRUE(higgs) << (higgs ? "" : higgs.error().message);
  return *std::move(higgs);
}

std::vector<float> normals(int n, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& value : x) value = rng.normal();
  return x;
}

std::vector<std::byte> encode(const Higgs& higgs, const std::vector<float>& rows) {
  const auto count = rows.size() / static_cast<size_t>(higgs.length());
  std::vector<std::byte> codes(count * higgs.row_bytes());
  const auto done = higgs.encode(rows.data(), static_cast<int>(count), codes.data());
  EXPECT_TRUE(done) << (done ? "" : done.error().message);
  return codes;
}

std::vector<float> round_trip(const Higgs& higgs, const std::vector<float>& rows) {
  const std::vector<std::byte> codes = encode(higgs, rows);
  std::vector<float> back(rows.size());
  higgs.decode(codes.data(), static_cast<int>(codes.size() / higgs.row_bytes()), back.data());
  return back;
}

double relative_error(const std::vector<float>& x, const std::vector<float>& y) {
  double error = 0, power = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    error += (x[i] - y[i]) * (x[i] - y[i]);
    power += x[i] * x[i];
  }
  return error / power;
}

double product(const std::vector<float>& x, const std::vector<float>& y) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += double{x[i]} * y[i];
  return sum;
}

TEST(Higgs, BytesAreThoseOfThePaper) {
  EXPECT_DOUBLE_EQ(make({2, 16}, 1024).bits_per_value(), 2.015625);
  EXPECT_DOUBLE_EQ(make({2, 16}, 128).bits_per_value(), 2.125);
  EXPECT_EQ(make({2, 16}, 128).row_bytes(), 34u);
  EXPECT_EQ(make({2, 64}, 24).row_bytes(), 9u + 2u);
  EXPECT_EQ(make({4, 256}, 192).row_bytes(), 48u + 2u);
  EXPECT_EQ(make({1, 8}, 8).row_bytes(), 3u + 2u);
  EXPECT_EQ(make({4, 64}, 8).row_bytes(), 2u + 2u) << "12 bits";
}

TEST(Higgs, ErrorIsTheGridsForRowsOfAnyLength) {
  for (const Grid& grid : grids())
    for (const int d : kLengths) {
      if (d < 64) continue;  // one scale for few values errs more
      const std::vector<float> x = normals(d * (40960 / d), 11);
      EXPECT_NEAR(relative_error(x, round_trip(make({grid.p, grid.n}, d), x)) / grid.mse, 1, 0.05)
          << grid.n << " points in " << grid.p << ", rows of " << d;
    }
}

// Rows of a heavy-tailed distribution with outlier channels, as keys have, err no more than normal
// ones.
TEST(Higgs, RotationMakesHeavyTailsNormal) {
  for (const int d : {128, 192, 512}) {
    std::vector<float> normal = normals(d * 200, 12), heavy = normal;
    Rng rng(13);
    for (size_t i = 0; i < heavy.size(); ++i) {
      const int channel = static_cast<int>(i) % d;
      heavy[i] /= std::sqrt(0.1f + rng.uniform());            // mixture of widths
      if (channel % 61 == 7) heavy[i] = 4 * heavy[i] + 6.0f;  // one channel in 61 is an outlier
    }
    const Higgs higgs = make({2, 16}, d);
    const double expected = relative_error(normal, round_trip(higgs, normal));
    const double found = relative_error(heavy, round_trip(higgs, heavy));
    EXPECT_LT(found, 1.03 * expected) << d;
    EXPECT_GT(found, 0.94 * expected) << d << ": two outliers make few sums, not quite normal";
  }
}

TEST(Higgs, SignsSpreadConstantRows) {
  const std::vector<float> x(256, 3.0f);
  EXPECT_LT(relative_error(x, round_trip(make({2, 16}, 256), x)), 0.15);
  HiggsSpec unsigned_spec;
  unsigned_spec.signs = false;
  EXPECT_GT(relative_error(x, round_trip(make(unsigned_spec, 256), x)), 0.6) << "one spike";
}

TEST(Higgs, RotationIsOrthonormal) {
  for (const int d : kLengths) {
    const Higgs higgs = make({}, d);
    const std::vector<float> x = normals(d, 14);
    std::vector<float> y = x;
    higgs.rotate(y.data());
    EXPECT_NEAR(product(y, y) / product(x, x), 1, 1e-5);
    EXPECT_GT(relative_error(x, y), 0.1);
    higgs.rotate_back(y.data());
    EXPECT_LT(relative_error(x, y), 1e-11);
  }
}

// The bytes of a code against the format's words: indices lowest bits first, then the scale.
TEST(Higgs, DecodesWhatTheFormatSays) {
  for (const Grid& grid : grids())
    for (const int d : kLengths) {
      const Higgs higgs = make({grid.p, grid.n}, d);
      Rng rng(15);
      std::vector<std::byte> code(higgs.row_bytes());
      std::vector<float> expected(static_cast<size_t>(d));
      for (int i = 0; i < d / grid.p; ++i) {
        const auto index = static_cast<unsigned>(rng.below(static_cast<uint64_t>(grid.n)));
        for (int bit = 0; bit < grid.bits(); ++bit) {
          const int at = i * grid.bits() + bit;
          code[static_cast<size_t>(at / 8)] |= std::byte((index >> bit & 1u) << at % 8);
        }
        for (int k = 0; k < grid.p; ++k)
          expected[static_cast<size_t>(i * grid.p + k)] =
              2.5f * grid.points[index * static_cast<unsigned>(grid.p) + static_cast<unsigned>(k)];
      }
      const F16 scale = f32_to_f16(2.5f);
      std::memcpy(code.data() + code.size() - 2, &scale, 2);
      std::vector<float> row(static_cast<size_t>(d));
      higgs.decode(code.data(), 1, row.data());
      higgs.rotate_back(expected.data());
      EXPECT_EQ(row, expected) << grid.n << " points in " << grid.p << ", rows of " << d;
    }
}

TEST(Higgs, RowsDoNotDependOnTheirBatch) {
  const Higgs higgs = make({2, 64}, 40);
  const std::vector<float> rows = normals(40 * 9, 16);
  const std::vector<std::byte> together = encode(higgs, rows);
  for (size_t row = 0; row < 9; ++row) {
    std::vector<std::byte> alone(higgs.row_bytes());
    ASSERT_TRUE(higgs.encode(rows.data() + 40 * row, 1, alone.data()));
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(),
                           together.begin() + static_cast<ptrdiff_t>(row * higgs.row_bytes())));
  }
}

// Pinned: the same bytes whatever instruction set runs this (KVKEEP_ISA), today and tomorrow.
TEST(Higgs, BitsAreTheSameEverywhere) {
  uint64_t first = 0, later = 0;
  for (const Grid& grid : grids())
    for (const int d : kLengths) {
      uint64_t& hash = grid.p == 4 && grid.n < 256 ? later : first;
      Rng rng(17);
      std::vector<float> x(static_cast<size_t>(d * 4));
      for (float& value : x)  // no function of the C library has a hand in these
        value = rng.uniform() + rng.uniform() + rng.uniform() - 1.5f;
      HiggsSpec spec{grid.p, grid.n};
      spec.scale = static_cast<HiggsScale>(d / 8 % 3);
      const Higgs higgs = make(spec, d);
      for (const std::byte byte : encode(higgs, x))
        hash = hash64(hash ^ std::to_integer<uint64_t>(byte));
      for (const float value : round_trip(higgs, x))
        hash = hash64(hash ^ std::bit_cast<uint32_t>(value));
    }
  EXPECT_EQ(first, 2085070211458652511ull);
  EXPECT_EQ(later, 9683383808312326973ull) << "grids of 16 and 64 points in 4 dimensions";
}

TEST(Higgs, StoredScaleMayKeepDotProducts) {
  const std::vector<float> x = normals(128, 18);
  const auto ratio = [&](HiggsScale scale) {
    HiggsSpec spec;
    spec.scale = scale;
    return product(x, round_trip(make(spec, 128), x)) / product(x, x);
  };
  EXPECT_NEAR(ratio(HiggsScale::unbiased), 1, 1e-3);
  EXPECT_NEAR(ratio(HiggsScale::norm), 1 - 0.108, 0.03);
  const auto error = [&](HiggsScale scale) {
    HiggsSpec spec;
    spec.scale = scale;
    return relative_error(x, round_trip(make(spec, 128), x));
  };
  EXPECT_LE(error(HiggsScale::least_squares), error(HiggsScale::norm) + 1e-4);
  EXPECT_LT(error(HiggsScale::least_squares), error(HiggsScale::unbiased));
}

TEST(Higgs, ZerosAreExactAndTinyRowsBecomeZero) {
  for (const float value : {0.0f, -0.0f, 1e-12f, -1e-30f}) {
    const std::vector<float> x(24, value);
    for (const float y : round_trip(make({4, 256}, 24), x)) EXPECT_EQ(y, 0.0f);
  }
}

TEST(Higgs, RefusesWhatIsNotFinite) {
  const Higgs higgs = make({}, 64);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(),
                          -std::numeric_limits<float>::infinity(), 3e38f, 1e7f}) {
    std::vector<float> x = normals(128, 19);
    x[70] = bad;
    std::vector<std::byte> codes(2 * higgs.row_bytes());
    const auto done = higgs.encode(x.data(), 2, codes.data());
    ASSERT_FALSE(done) << bad;
    EXPECT_EQ(done.error().message, "higgs: row 1 of 2: a value or the scale is not finite in f16");
  }
}

TEST(Higgs, RefusesWhatItHasNoFormFor) {
  EXPECT_EQ(Higgs::make({}, 100).error().message,
            "higgs: rows of 100 values; allowed: multiples of 8 from 8 to 65536");
  EXPECT_FALSE(Higgs::make({}, 0));
  EXPECT_FALSE(Higgs::make({}, 1 << 17));
  EXPECT_FALSE(Higgs::make({8, 65536}, 1024));
  EXPECT_FALSE(Higgs::make({3, 16}, 24));
}

}  // namespace
}  // namespace kvkeep
