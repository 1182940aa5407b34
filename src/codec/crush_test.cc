// Representatives inside a chunk: by hand, against the bytes, and on bytes that no encoder wrote.
#include "codec/crush.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"

namespace kvkeep {
namespace {

constexpr int kWidth = 32;

Higgs higgs(int p, int n) {
  return *Higgs::make({p, n, 1, true, HiggsScale::least_squares}, kWidth);
}

std::vector<float> random_rows(int count, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> rows(static_cast<size_t>(count) * kWidth);
  for (float& x : rows) x = rng.normal();
  return rows;
}

double power(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
  return sum;
}

TEST(Crush, CountsItsBytes) {
  const Crush crush({2, 1.0f}, 1, higgs(1, 16), higgs(1, 2));
  EXPECT_EQ(crush.representatives(3), 0);
  EXPECT_EQ(crush.representatives(8), 2);
  EXPECT_EQ(crush.representatives(100), 3);
  // 3 numbers of 2 bytes, 20 indices of 2 bits, rows of 32 values at 4 and 1 bit with f16 scales.
  EXPECT_EQ(crush.bytes(20), 3 * 2 + 5 + 3 * (16 + 2) + 17 * (4 + 2));
  EXPECT_EQ(Crush({0, 1.0f}, 1, higgs(1, 16), higgs(1, 2)).bytes(20), 20 * (4 + 2));
}

// Two kinds of rows: the first of each kind stands for it, and nothing is left of the others.
TEST(Crush, RowsThatAreAlikePayOnce) {
  const std::vector<float> kinds = random_rows(2, 7);
  std::vector<float> rows;
  for (int row = 0; row < 16; ++row)
    rows.insert(rows.end(), kinds.begin() + row % 2 * kWidth,
                kinds.begin() + (row % 2 + 1) * kWidth);
  const Crush crush({2, 1.0f}, 1, higgs(1, 16), higgs(1, 2));
  std::vector<std::byte> codes(crush.bytes(16));
  std::vector<float> out(rows);
  ASSERT_TRUE(crush.encode(out.data(), 16, codes.data()));
  const double all = power(rows, std::vector<float>(rows.size()));
  // Each is as good as its 4-bit representative (mse 0.0095), or better by its own bit.
  EXPECT_LT(power(out, rows), 0.012 * all);
  std::vector<float> plain(rows);
  std::vector<std::byte> other(Crush({0, 1.0f}, 1, higgs(1, 2), higgs(1, 2)).bytes(16));
  ASSERT_TRUE(Crush({0, 1.0f}, 1, higgs(1, 2), higgs(1, 2)).encode(plain.data(), 16, other.data()));
  EXPECT_GT(power(plain, rows), 0.2 * all);
}

TEST(Crush, DecodesTheSameInAnyGrouping) {
  for (const int count : {1, 7, 33, 128}) {
    const Crush crush({3, 0.65f}, 1, higgs(1, 4), higgs(1, 2));
    std::vector<float> rows = random_rows(count, 3);
    std::vector<std::byte> codes(crush.bytes(count));
    ASSERT_TRUE(crush.encode(rows.data(), count, codes.data()));
    for (const int step : {1, 5, 32}) {
      std::vector<float> out(rows.size());
      for (int first = 0; first < count; first += step)
        crush.decode(codes.data(), count, first, std::min(step, count - first),
                     out.data() + first * kWidth);
      EXPECT_EQ(out, rows) << count << " rows, " << step << " a call";
    }
  }
}

TEST(Crush, UnlikeRowsAreCodedAsTheyAre) {
  // Orthogonal rows of equal length: a representative takes nothing off, so index 0 everywhere.
  std::vector<float> rows(8 * kWidth);
  for (size_t i = 0; i < 8; ++i) rows[i * kWidth + i] = 4.0f;
  const Crush crush({2, 1.0f}, 1, higgs(1, 16), higgs(1, 16));
  std::vector<std::byte> codes(crush.bytes(8));
  std::vector<float> out(rows);
  ASSERT_TRUE(crush.encode(out.data(), 8, codes.data()));
  EXPECT_EQ(codes[4], std::byte(0));
  EXPECT_EQ(codes[5], std::byte(0));
}

// Three rows of a kind that is long in head 0, four of another that is long in head 1. The last row
// is half of the first kind, but in head 0 no longer than the median row: by signature it is like
// the second kind.
TEST(Crush, OnlyRepresentativesOfANearSignatureAreTaken) {
  constexpr size_t kHalf = kWidth / 2;
  const std::vector<float> kinds = random_rows(2, 11);
  std::vector<float> rows;
  const auto add = [&](size_t kind, float first, float second) {
    for (size_t c = 0; c < kWidth; ++c)
      rows.push_back(kinds[kind * kWidth + c] * (c < kHalf ? first : second));
  };
  for (const size_t kind : {0, 1, 0, 1, 0, 1, 1}) kind ? add(1, 1, 4) : add(0, 4, 1);
  add(0, 2, 0.5f);
  const auto index_of_last = [&](int near) {
    const Crush crush({2, 0.5f, near}, 2, higgs(1, 16), higgs(1, 4));
    std::vector<std::byte> codes(crush.bytes(8));
    std::vector<float> out(rows), again(rows.size());
    EXPECT_TRUE(crush.encode(out.data(), 8, codes.data()));
    crush.decode(codes.data(), 8, 0, 8, again.data());
    EXPECT_EQ(again, out) << near;
    // Two numbers of 2 bytes, then 2 bits a row.
    return std::to_integer<int>(codes[4 + 1]) >> 6;
  };
  EXPECT_EQ(index_of_last(2), 1) << "row 0 stands for its kind";
  EXPECT_NE(index_of_last(0), 1);
}

TEST(Crush, AnyBytesDecode) {
  const Crush crush({3, 0.5f}, 1, higgs(1, 4), higgs(1, 2));
  Rng rng(5);
  std::vector<std::byte> codes(crush.bytes(20));
  std::vector<float> out(20 * kWidth);
  for (int round = 0; round < 200; ++round) {
    for (auto& byte : codes) byte = std::byte(rng.below(256));
    crush.decode(codes.data(), 20, 0, 20, out.data());
  }
}

TEST(Crush, ANumberThatIsNotFiniteIsAnError) {
  const Crush crush({2, 1.0f}, 1, higgs(1, 4), higgs(1, 2));
  for (const int bad : {0, 5, 11}) {
    std::vector<float> rows = random_rows(12, 1);
    rows[static_cast<size_t>(bad * kWidth + 3)] = NAN;
    std::vector<std::byte> codes(crush.bytes(12));
    EXPECT_FALSE(crush.encode(rows.data(), 12, codes.data())) << bad;
  }
}

}  // namespace
}  // namespace kvkeep
