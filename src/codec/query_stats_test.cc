#include "codec/query_stats.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace kvkeep {
namespace {

// Against sums over every query and every position, in double precision: the mean and covariance of
// the queries before RoPE, each multiplied by the mean of the rotation matrices.
TEST(QueryStats, ForetellsQueriesTurnedToTheNextPositions) {
  const int d = 8, heads = 4, rows = 30, first = 100, future = 7;
  Rng rng(2);
  for (const bool interleaved : {true, false}) {
    RopeConfig config;
    config.dim = 6;  // two channels pass through
    config.interleaved = interleaved;
    const Rope rope(config);
    std::vector<float> plain(static_cast<size_t>(rows * heads * d)), turned;
    for (size_t i = 0; i < plain.size(); ++i) plain[i] = rng.normal() + (i % d == 1 ? 2.0f : 0.0f);
    turned = plain;
    for (int r = 0; r < rows; ++r)
      for (int h = 0; h < heads; ++h) rope.apply(turned.data() + (r * heads + h) * d, 20 + r);
    QueryStats stats(2, 2, d, config);
    stats.observe(1, turned.data(), 10, 2, 20);  // in two slices
    stats.observe(1, turned.data() + 10 * heads * d, 20, 2, 30);

    // R [d][d]: the mean rotation, column by column.
    double turn[d][d] = {};
    for (int c = 0; c < d; ++c)
      for (int p = first; p < first + future; ++p) {
        float unit[d] = {};
        unit[c] = 1.0f;
        rope.apply(unit, p);
        for (int a = 0; a < d; ++a) turn[a][c] += unit[a] / double{future};
      }
    const int head = 3;  // the second q_head of the second kv_head
    double mean[d] = {}, covariance[d][d] = {};
    const auto q = [&](int r, int c) {
      return double{plain[static_cast<size_t>((r * heads + head) * d + c)]};
    };
    for (int c = 0; c < d; ++c)
      for (int r = 0; r < rows; ++r) mean[c] += q(r, c) / rows;
    for (int a = 0; a < d; ++a)
      for (int b = 0; b < d; ++b)
        for (int r = 0; r < rows; ++r)
          covariance[a][b] += (q(r, a) - mean[a]) * (q(r, b) - mean[b]) / rows;

    const auto found = stats.foretell({1, 1}, 1, first, future);
    for (int a = 0; a < d; ++a) {
      double expected = 0;
      for (int c = 0; c < d; ++c) expected += turn[a][c] * mean[c];
      EXPECT_NEAR(found.mean[static_cast<size_t>(a)], expected, 1e-4);
      for (int b = 0; b < d; ++b) {
        double product = 0;
        for (int c = 0; c < d; ++c)
          for (int e = 0; e < d; ++e) product += turn[a][c] * covariance[c][e] * turn[b][e];
        EXPECT_NEAR(found.covariance[static_cast<size_t>(a * d + b)], product, 1e-4);
      }
    }
  }
}

TEST(QueryStats, SingleRowsCountUntilThereAreEnough) {
  QueryStats stats(1, 1, 2, {});
  const float early[] = {1.0f, 0.0f}, late[] = {-1.0f, 0.0f};
  for (int i = 0; i < 256; ++i) stats.observe(0, early, 1, 1, i);
  stats.observe(0, late, 1, 1, 256);
  EXPECT_EQ(stats.foretell({}, 0, 0, 1).mean[0], 1.0f);
  const std::vector<float> slice(2 * 256, -1.0f);
  stats.observe(0, slice.data(), 256, 1, 257);
  EXPECT_EQ(stats.foretell({}, 0, 0, 1).mean[0], 0.0f) << "a prompt counts";
  EXPECT_EQ(stats.bytes(), (2 + 4) * sizeof(float));
}

}  // namespace
}  // namespace kvkeep
