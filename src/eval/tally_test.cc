#include "eval/tally.h"

#include <gtest/gtest.h>

namespace kvkeep {
namespace {

std::vector<Tally> tallies(int n, double right, int asked) {
  return std::vector<Tally>(static_cast<size_t>(n), Tally{{right}, asked, {}, "", 0, 0});
}

std::vector<Tally> joined(std::vector<Tally> a, const std::vector<Tally>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(Tally, MeanCountsQuestions) {
  EXPECT_EQ(accuracy(joined(tallies(1, 1, 1), tallies(1, 0, 4))), 0.2);
  EXPECT_EQ(accuracy({}), 0);
}

TEST(Tally, IntervalHasNoWidthWhenAllAgree) {
  EXPECT_EQ(accuracy_interval(tallies(20, 5, 5), 0), Interval(1, 1));
  EXPECT_EQ(accuracy_interval(tallies(20, 0, 5), 0), Interval(0, 0));
}

TEST(Tally, IntervalIsThatOfTheBinomial) {
  const auto half = joined(tallies(50, 1, 1), tallies(50, 0, 1));
  const auto [low, high] = accuracy_interval(half, 0);  // 0.5 -+ 1.96 * sqrt(0.25 / 100)
  EXPECT_NEAR(low, 0.402, 0.021);
  EXPECT_NEAR(high, 0.598, 0.021);
}

TEST(Tally, IntervalOfAMeanIsThatOfTheBinomial) {
  std::vector<double> values(100, 0);
  std::fill_n(values.begin(), 50, 2);
  const auto [low, high] = mean_interval(values, 0);  // 1 -+ 2 * 1.96 * sqrt(0.25 / 100)
  EXPECT_NEAR(low, 0.804, 0.042);
  EXPECT_NEAR(high, 1.196, 0.042);
}

// Of samples that always differ by the same amount the difference is sure, however they vary.
TEST(Tally, DifferenceIsPaired) {
  const auto f16 = joined(tallies(50, 1, 1), tallies(50, 0.5, 1));
  const auto other = joined(tallies(50, 0.75, 1), tallies(50, 0.25, 1));
  const auto [low, high] = difference_interval(other, f16, 0);
  EXPECT_NEAR(low, -0.25, 1e-12);
  EXPECT_NEAR(high, -0.25, 1e-12);
}

}  // namespace
}  // namespace kvkeep
