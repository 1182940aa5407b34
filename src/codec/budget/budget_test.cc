#include "codec/budget/budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "base/rng.h"

namespace kvkeep {
namespace {

std::unique_ptr<Budget> budget(const std::string& text, int layers = 1, int kv_heads = 1) {
  const auto plan = Plan::parse("h2o:budget=" + text);
  EXPECT_TRUE(plan) << plan.error().message;
  auto made = make_budget(*plan, {layers, kv_heads});
  EXPECT_TRUE(made) << made.error().message;
  return *std::move(made);
}

// Tokens of every layer, or of every kv_head of one layer.
std::vector<int> by_layer(const Budget& b, int layers, int tokens, int prompt = 0) {
  std::vector<int> high;
  for (int layer = 0; layer < layers; ++layer)
    high.push_back(b.allocate({layer, 0}, tokens, prompt).high);
  return high;
}
std::vector<int> by_head(const Budget& b, int heads, int tokens, int prompt = 0) {
  std::vector<int> high;
  for (int h = 0; h < heads; ++h) high.push_back(b.allocate({0, h}, tokens, prompt).high);
  return high;
}
int sum(const std::vector<int>& counts) { return std::accumulate(counts.begin(), counts.end(), 0); }

using V = std::vector<int>;

TEST(Budget, PinsAndSharesOfAnEvenOne) {
  const auto b = budget("uniform,keep=0.25,recent=0.5,sinks=4");
  const Quota quota = b->allocate({}, 1000);
  EXPECT_EQ(quota.high, 250);
  EXPECT_EQ(quota.exact, 250);
  EXPECT_EQ(quota.sinks, 4);
  EXPECT_EQ(quota.first_high, 1000 - 125);
  EXPECT_EQ(b->allocate({}, 3).high, 3) << "sinks come before shares";
  EXPECT_EQ(b->allocate({}, 1).high, 1);
  EXPECT_EQ(b->allocate({}, 0).high, 0);
}

TEST(Budget, WholeBlocksKeepTheMeanAndNeverShrink) {
  const auto b = budget("uniform,keep=0.2,align=blocks", 6, 2);
  EXPECT_EQ(b->allocate({0, 0}, 2048).high, 384);  // 410 + 2 rows: six blocks
  EXPECT_EQ(b->allocate({5, 1}, 2048).high, 448);  // 410 + 61
  std::vector<int> before(12);
  for (int tokens = 1; tokens <= 4096; ++tokens) {
    int all = 0;
    for (int i = 0; i < 12; ++i) {
      const int high = b->allocate({i / 2, i % 2}, tokens).high;
      EXPECT_GE(high, before[static_cast<size_t>(i)]) << tokens;
      EXPECT_TRUE(high % 64 == 0 || high == tokens) << tokens;
      all += before[static_cast<size_t>(i)] = high;
    }
    if (tokens >= 640) {
      EXPECT_NEAR(all / 12.0, 0.2 * tokens, 4) << tokens;
    }
  }
  const auto newest = budget("uniform,keep=0.2,recent=1,sinks=4,align=blocks", 6, 2);
  EXPECT_EQ(newest->allocate({0, 0}, 2048).high, 384);
  EXPECT_EQ(newest->allocate({0, 0}, 2048).first_high, 2048 - 380);
  EXPECT_EQ(newest->allocate({5, 1}, 2048).first_high, 2048 - 406);  // 410 - 4, the rest by score
  const auto exact = budget("uniform,keep=1,align=blocks", 6, 2);
  EXPECT_EQ(exact->allocate({0, 0}, 1000).high, 1000);
}

// A share smaller than what is pinned gives way; a text shorter than what is pinned stays whole.
TEST(Budget, SinksAndWindowAreNeverBelowTheBudget) {
  for (const char* method : {"uniform", "pyramid", "shares,of=1/9", "ada"}) {
    const auto b = budget(std::string(method) + ",keep=0.01,recent=0,sinks=4,window=32", 3, 2);
    for (int layer = 0; layer < 3; ++layer) {
      EXPECT_EQ(b->allocate({layer, 1}, 1000).high, 36) << method;
      EXPECT_EQ(b->allocate({layer, 1}, 1000).first_high, 968) << method;
      EXPECT_EQ(b->allocate({layer, 1}, 20).high, 20) << method;
      EXPECT_EQ(b->allocate({layer, 1}, 1).high, 1) << method;
    }
  }
}

TEST(Budget, APyramidFallsAlongALine) {
  const auto b = budget("pyramid,keep=0.25,recent=0", 4);
  EXPECT_EQ(by_layer(*b, 4, 400), (V{195, 132, 68, 5}));  // mean 100, last 100 / 20
  EXPECT_EQ(by_layer(*budget("pyramid,keep=0.6,recent=0", 4), 4, 100), (V{100, 73, 47, 20}))
      << "no layer holds more than all";
  EXPECT_EQ(by_layer(*budget("pyramid,keep=0.25", 3), 3, 400), (V{148, 100, 52}))
      << "the newest 50 of 100 are pinned in every layer";
  EXPECT_EQ(by_layer(*budget("pyramid,keep=0.25,beta=1", 3), 3, 400), (V{100, 100, 100}));
  EXPECT_EQ(by_layer(*budget("pyramid,keep=1", 3), 3, 50), (V{50, 50, 50}));
  EXPECT_EQ(by_layer(*budget("pyramid,keep=0.25", 1), 1, 400), (V{100}));
}

TEST(Budget, EveryMethodSpendsWhatTheEvenOneWould) {
  for (const char* method : {"pyramid", "ada", "shares,of=0/5/1"})
    for (const char* amounts :
         {",keep=0.2", ",keep=0.7,recent=0.1,sinks=4", ",keep=0.3,quota=fixed"})
      for (int tokens : {1, 2, 17, 100, 999, 5000}) {
        const auto b = budget(std::string(method) + amounts, 5, 3);
        const auto even = budget(std::string("uniform") + amounts, 5, 3);
        int all = 0;
        for (int layer = 0; layer < 5; ++layer)
          for (int h = 0; h < 3; ++h) all += b->allocate({layer, h}, tokens, 50).high;
        EXPECT_EQ(all, 15 * even->allocate({}, tokens, 50).high) << method << amounts << tokens;
      }
}

TEST(Budget, GivenSharesAreStretchedOverTheLayersOrStandForHeads) {
  EXPECT_EQ(by_layer(*budget("shares,keep=0.25,recent=0", 4), 4, 400), (V{100, 100, 100, 100}));
  EXPECT_EQ(by_layer(*budget("shares,keep=0.25,recent=0,of=3/1/2", 5), 5, 400),
            (V{158, 105, 53, 79, 105}))  // 3, 2, 1, 1.5, 2 of 9.5 fifths of 500
      << "a line between the given points";
  EXPECT_EQ(by_head(*budget("shares,keep=0.25,recent=0,of=1/3", 1, 2), 2, 400), (V{50, 150}));
  EXPECT_EQ(by_head(*budget("shares,keep=0.25,of=0/2", 1, 2), 2, 400), (V{50, 150}))
      << "pinned tokens stay";
  EXPECT_EQ(by_head(*budget("shares,keep=0.75,recent=0,of=1/3", 1, 2), 2, 400), (V{200, 400}))
      << "no head holds more than all";
}

TEST(Budget, SharesThatDoNotFitTheModelAreRefused) {
  for (const char* of : {"1/2/3/4/5", "0", "0/0"}) {
    const auto plan = Plan::parse(std::string("h2o:budget=shares,of=") + of);
    ASSERT_TRUE(plan) << plan.error().message;
    const auto made = make_budget(*plan, {3, 2});
    ASSERT_FALSE(made) << of;
    EXPECT_EQ(made.error().code, ErrorCode::bad_input);
    EXPECT_NE(made.error().message.find("allowed"), std::string::npos);
  }
  for (const char* of : {"", "/", "1/", "/1", "1//2", "-1", "1/x", "nan", "1/inf"})
    EXPECT_FALSE(Plan::parse(std::string("h2o:budget=shares,of=") + of)) << of;
  EXPECT_EQ(Plan::parse("h2o:budget=shares,of=1.50/0.5")->slot("budget").param("of"), "1.5/0.5");
}

HeadScores candidates(std::vector<float> scores, int pinned = 0) {
  return {pinned, std::move(scores)};
}

// Of 8 tokens a head holds 4. The first head's scores, less the lowest and brought to a sum of 1,
// are .97 .01 .01 .01 0 ..., the second's 7/28, 6/28 ... 0: beyond one token each, which is the
// floor, the second head's next six are all above .01.
TEST(Budget, AdaGivesTokensToHeadsThatLookAtMany) {
  const auto b = budget("ada,keep=0.5,recent=0,floor=0.25", 1, 2);
  EXPECT_EQ(by_head(*b, 2, 8), (V{4, 4})) << "even until it has seen scores";
  const std::vector<HeadScores> heads = {candidates({1.97f, 1.01f, 1.01f, 1.01f, 1, 1, 1, 1}),
                                         candidates({80, 70, 60, 50, 40, 30, 20, 10})};
  b->follow(0, heads, 8, 8);
  EXPECT_EQ(by_head(*b, 2, 8), (V{1, 7}));
  EXPECT_EQ(by_head(*b, 2, 80), (V{10, 70})) << "grows with the text";
  EXPECT_EQ(by_head(*b->clone(), 2, 8), (V{1, 7}));
}

TEST(Budget, AdaSplitsEquallyWhereScoresSayNothing) {
  const auto b = budget("ada,keep=0.5,recent=0", 1, 3);
  const float low = -std::numeric_limits<float>::infinity();
  b->follow(0, std::vector<HeadScores>(3, candidates(std::vector<float>(8, 0.5f))), 8, 8);
  EXPECT_EQ(by_head(*b, 3, 8), (V{4, 4, 4}));
  b->follow(0, std::vector<HeadScores>(3, candidates(std::vector<float>(8, low))), 8, 8);
  EXPECT_EQ(by_head(*b, 3, 8), (V{4, 4, 4}));
}

// Following the same rows again changes nothing: no drift from one turn of a chat to the next.
TEST(Budget, AdaAsksOnlyForRowsThatAreThereAndDoesNotDrift) {
  Rng rng(4);
  const int heads = 4, tokens = 200;
  const auto b = budget("ada,keep=0.2,recent=0.5", 1, heads);
  std::vector<HeadScores> scores;
  for (int h = 0; h < heads; ++h) {
    std::vector<float> of(180);
    for (float& x : of) x = std::pow(rng.uniform(), static_cast<float>(1 + 3 * h));
    std::sort(of.begin(), of.end(), std::greater<>());
    scores.push_back(candidates(of, 20));
  }
  b->follow(0, scores, tokens, tokens);
  const V first = by_head(*b, heads, tokens);
  EXPECT_EQ(sum(first), 160);
  EXPECT_NE(first[0], first[3]);
  for (int h = 0; h < heads; ++h) {
    EXPECT_GE(first[static_cast<size_t>(h)], 20);
    scores[static_cast<size_t>(h)].scores.resize(
        static_cast<size_t>(first[static_cast<size_t>(h)]) - 20);
  }
  b->follow(0, scores, tokens, tokens);
  EXPECT_EQ(by_head(*b, heads, tokens), first);
}

}  // namespace
}  // namespace kvkeep
