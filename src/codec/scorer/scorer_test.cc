#include "codec/scorer/scorer.h"

#include <gtest/gtest.h>

#include <numeric>

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
  s->rank({0, 0, 10, positions, {}}, votes);
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
  s->rank({0, 0, 6, first(1), {}}, scores);
  EXPECT_EQ(scores[0], 0.5f);
}

TEST(Scorer, ZipCacheDividesByTheVotersThatSawTheToken) {
  const auto all = scorer("zipcache:probe=1");
  std::vector<float> scores = {4.0f, 3.0f, 2.0f, 1.0f};  // one unit per row that could see it
  all->rank({0, 0, 4, first(4), {}}, scores);
  EXPECT_EQ(scores, (std::vector<float>(4, 1.0f)));
  const auto few = scorer("zipcache:probe=0.1");
  int voters = 0;
  for (int p = 0; p < 10000; ++p) voters += few->observes_row(p, p);
  EXPECT_NEAR(voters, 1000, 100);
  std::vector<float> unseen = {0.0f};  // no voter among no rows
  const std::vector<int32_t> newest = {4};
  few->rank({0, 0, 4, newest, {}}, unseen);
  EXPECT_GT(unseen[0], 1e29f);
}

TEST(Scorer, KeyNormPrefersSmallKeysBeyondTheSkippedLayers) {
  const auto s = scorer("knorm:skip=1");
  const std::vector<float> norms = {3.0f, 1.0f, 2.0f};
  std::vector<float> scores(3);
  s->rank({1, 0, 3, first(3), norms}, scores);
  EXPECT_GT(scores[1], scores[2]);
  EXPECT_GT(scores[2], scores[0]);
  s->rank({0, 0, 3, first(3), norms}, scores);
  EXPECT_GT(scores[2], scores[1]);
}

TEST(Scorer, RandomIsFixedPerTokenAndDiffersByHeadAndSeed) {
  const auto s = scorer("random:seed=4"), other = scorer("random:seed=5");
  std::vector<float> a(100), b(100), c(100), d(100);
  s->rank({1, 1, 100, first(100), {}}, a);
  s->rank({1, 1, 100, first(100), {}}, b);
  s->rank({1, 0, 100, first(100), {}}, c);
  other->rank({1, 1, 100, first(100), {}}, d);
  EXPECT_EQ(a, b);
  EXPECT_NE(a, c);
  EXPECT_NE(a, d);
}

}  // namespace
}  // namespace kvkeep
