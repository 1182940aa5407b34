#include "codec/merge.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace kvkeep {
namespace {

constexpr auto kLeaves = MergeFate::leaves, kTakes = MergeFate::takes, kExact = MergeFate::exact;

// Keys in the plane; a value is its row's number.
MergeRows plane(std::vector<float> keys, std::vector<MergeFate> fates) {
  MergeRows rows;
  rows.dim = 2;
  rows.k = std::move(keys);
  rows.fates = std::move(fates);
  const size_t n = rows.fates.size();
  for (size_t i = 0; i < n; ++i) {
    rows.v.insert(rows.v.end(), {static_cast<float>(i), 1.0f});
    rows.scores.push_back(static_cast<float>(i));
  }
  rows.masses.assign(n, 1.0f);
  return rows;
}

TEST(Merge, D2oGoesToTheNearestKeyAboveTheThreshold) {
  // Row 1 is exactly like row 0, row 3 at 45 degrees to rows 0 and 2; the exact row 4 takes
  // nothing.
  auto rows = plane({2, 0, 1, 0, 0, 1, 3, 3, 3, 3}, {kTakes, kLeaves, kTakes, kLeaves, kExact});
  float threshold = -std::numeric_limits<float>::infinity();
  const MergeChoice choice = choose_d2o(rows, 0.5f, &threshold);
  EXPECT_FLOAT_EQ(threshold, (1.0f + std::sqrt(0.5f)) / 2);  // the mean of the first similarities
  EXPECT_EQ(choice.into, (std::vector<size_t>{0, 0, 2, 3, 4}));
  EXPECT_FLOAT_EQ(choice.weights[1], 1.0f);  // e^(1 - 1)
  rows.masses[1] = 3.0f;                     // it already stands for three tokens
  const auto changed = merge_rows(choice, &rows);
  EXPECT_EQ(changed, (std::vector<uint8_t>{1, 0, 0, 0, 0}));
  EXPECT_FLOAT_EQ(rows.k[0], (1 * 2.0f + 3 * 1.0f) / 4);
  EXPECT_FLOAT_EQ(rows.v[0], (1 * 0.0f + 3 * 1.0f) / 4);
  EXPECT_FLOAT_EQ(rows.v[1], 1.0f);
  EXPECT_EQ(rows.masses[0], 4.0f);

  auto later = plane({1, 0, 0, 1}, {kTakes, kLeaves});  // similarity 0
  const float before = threshold;
  EXPECT_EQ(choose_d2o(later, 0.5f, &threshold).into[1], 1u);
  EXPECT_FLOAT_EQ(threshold, before / 2);
}

TEST(Merge, KvMergerMergesRunsOfSimilarNeighbours) {
  // Rows 0 to 2 are one run; row 3 points elsewhere and row 4 with it, but none of these stays.
  auto rows = plane({1, 0, 2, 0, 4, 0, 0, 1, 0, 2}, {kLeaves, kTakes, kTakes, kLeaves, kLeaves});
  const MergeChoice choice = choose_kvmerger(rows, 0.9f);
  EXPECT_EQ(choice.into, (std::vector<size_t>{2, 1, 2, 3, 4}));  // row 2 has the better score
  const float spread = (9.0f + 4.0f + 0.0f) / 3;
  EXPECT_FLOAT_EQ(choice.weights[0], std::exp(-9.0f / (2 * spread)));
}

TEST(Merge, NothingToMergeIntoDropsTheRows) {
  auto rows = plane({1, 0, 2, 0}, {kLeaves, kExact});
  float threshold = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(choose_d2o(rows, 0.5f, &threshold).into, (std::vector<size_t>{0, 1}));
  EXPECT_TRUE(std::isinf(threshold));
  EXPECT_EQ(choose_kvmerger(rows, 0.5f).into, (std::vector<size_t>{0, 1}));
}

}  // namespace
}  // namespace kvkeep
