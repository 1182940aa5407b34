#include "codec/scorer/scorer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/half.h"
#include "base/rng.h"

namespace kvkeep {
namespace {

std::unique_ptr<Scorer> scorer(const std::string& text) {
  const auto plan = Plan::parse("scorer=" + text);
  EXPECT_TRUE(plan) << plan.error().message;
  return make_scorer(plan->slot("scorer"));
}

std::vector<int32_t> first(int n) {
  std::vector<int32_t> positions(static_cast<size_t>(n));
  std::iota(positions.begin(), positions.end(), 0);
  return positions;
}

TEST(Scorer, H2oAddsUpWhatEveryRowPaid) {
  const auto s = scorer("h2o");
  std::vector<float> scores = {1.0f, 0.0f};
  const std::vector<float> mass = {0.25f, 0.5f};
  s->update({mass, 1, scores});
  s->update({mass, 7, scores});
  EXPECT_EQ(scores, (std::vector<float>{1.5f, 1.0f}));
  EXPECT_TRUE(s->observes_row(3, 900));
}

TEST(Scorer, H2oPerRowDividesByTheRowsThatCouldSeeTheToken) {
  std::vector<float> scores = {8.0f, 3.0f, 1.0f};
  const std::vector<int32_t> positions = {0, 4, 7};  // seen by 8, 4 and 1 of 8 rows
  scorer("h2o:norm=rows")->rank({0, 0, 8, positions}, scores);
  EXPECT_EQ(scores, (std::vector<float>{1.0f, 0.75f, 1.0f}));
  scorer("h2o")->rank({0, 0, 8, positions}, scores);
  EXPECT_EQ(scores, (std::vector<float>{1.0f, 0.75f, 1.0f}));
}

// A score that grows by a tenth of the f16 step it stands on still grows by the right amount.
TEST(Scorer, RoundedScoresAreF16AndGrowOnAverage) {
  Rng rng(6);
  for (float start : {1.0f, 100.0f, 1e-6f, 0.0f}) {
    const float step = std::max(start * 0x1p-10f, 0x1p-24f) * 0.1f;
    double sum = 0;
    for (int run = 0; run < 200; ++run) {
      float score = start;
      for (int i = 0; i < 200; ++i) {
        score = round_score(score + step, static_cast<uint32_t>(rng.below(uint64_t{1} << 32)));
        ASSERT_EQ(f16_to_f32(f32_to_f16(score)), score);
      }
      sum += score - start;
    }
    EXPECT_NEAR(sum / 200 / (200 * step), 1.0, 0.1) << start;
  }
  for (float exact : {0.0f, 0.5f, -3.0f, 1024.0f}) EXPECT_EQ(round_score(exact, ~0u), exact);
  EXPECT_EQ(round_score(1e30f, 1), 65504.0f);
  EXPECT_EQ(round_score(-1e30f, 1), -65504.0f);
  EXPECT_EQ(f32_to_f16(round_score(65503.9f, ~0u)), f32_to_f16(65504.0f));
}

TEST(Scorer, SnapKvSeesItsWindowFadesOldVotesAndPools) {
  const auto s = scorer("snapkv:window=4,pool=3");
  EXPECT_TRUE(s->observes_row(97, 100));
  EXPECT_FALSE(s->observes_row(96, 100));
  std::vector<float> scores = {8.0f};
  const std::vector<float> mass = {1.0f};
  s->update({mass, 1, scores});
  EXPECT_EQ(scores[0], 7.0f);  // three quarters of the old votes and the new one
  s->update({mass, 4, scores});
  EXPECT_EQ(scores[0], 1.0f);  // a full window replaces them
  std::vector<float> votes = {0, 5, 0, 0, 3, 0};
  const std::vector<int32_t> positions = {0, 1, 2, 3, 4, 9};  // 9 has no neighbour
  s->rank({0, 0, 10, positions}, votes);
  EXPECT_EQ(votes, (std::vector<float>{5, 5, 5, 3, 3, 0}));
}

TEST(Scorer, TovaKeepsOnlyTheNewestRowsVote) {
  const auto s = scorer("tova");
  EXPECT_TRUE(s->observes_row(5, 5));
  EXPECT_FALSE(s->observes_row(4, 5));
  std::vector<float> scores = {8.0f};
  const std::vector<float> mass = {0.5f};
  s->update({mass, 1, scores});
  EXPECT_EQ(scores[0], 0.5f);
  s->rank({0, 0, 6, first(1)}, scores);
  EXPECT_EQ(scores[0], 0.5f);
}

TEST(Scorer, ZipCacheDividesByTheVotersThatSawTheToken) {
  const auto all = scorer("zipcache:probe=1");
  std::vector<float> scores = {4.0f, 3.0f, 2.0f, 1.0f};  // one unit per row that could see it
  all->rank({0, 0, 4, first(4)}, scores);
  EXPECT_EQ(scores, (std::vector<float>(4, 1.0f)));
  const auto few = scorer("zipcache:probe=0.1");
  int voters = 0;
  for (int p = 0; p < 10000; ++p) voters += few->observes_row(p, p);
  EXPECT_NEAR(voters, 1000, 100);
  std::vector<float> unseen = {0.0f};  // no voter among no rows
  const std::vector<int32_t> newest = {4};
  few->rank({0, 0, 4, newest}, unseen);
  EXPECT_GT(unseen[0], 1e29f);
}

TEST(Scorer, KeyNormPrefersSmallKeysBeyondTheSkippedLayers) {
  const auto s = scorer("knorm:skip=1");
  std::vector<float> scores;
  for (float x : {3.0f, 1.0f, 2.0f}) {
    const float key[] = {0.6f * x, -0.8f * x};
    scores.push_back(s->first_score(key));
    EXPECT_FLOAT_EQ(scores.back(), -x);
  }
  s->rank({1, 0, 3, first(3)}, scores);
  EXPECT_GT(scores[1], scores[2]);
  EXPECT_GT(scores[2], scores[0]);
  s->rank({0, 0, 3, first(3)}, scores);
  EXPECT_GT(scores[2], scores[1]);
}

TEST(Scorer, RandomIsFixedPerTokenAndDiffersByHeadAndSeed) {
  const auto s = scorer("random:seed=4"), other = scorer("random:seed=5");
  std::vector<float> a(100), b(100), c(100), d(100);
  s->rank({1, 1, 100, first(100)}, a);
  s->rank({1, 1, 100, first(100)}, b);
  s->rank({1, 0, 100, first(100)}, c);
  other->rank({1, 1, 100, first(100)}, d);
  EXPECT_EQ(a, b);
  EXPECT_NE(a, c);
  EXPECT_NE(a, d);
}

}  // namespace
}  // namespace kvkeep
