// One sequence becomes two, or shorter; and a prompt may come in any pieces.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/compressed_attention.h"
#include "engine/session_fixture.h"
#include "kvkeep/methods.h"

namespace kvkeep {
namespace {

// All logits of n decode steps.
std::vector<float> steps(Session* s, int n, uint64_t seed) {
  std::vector<float> logits;
  for (int32_t token : some_tokens(n, seed)) {
    EXPECT_TRUE(s->step(token));
    logits.insert(logits.end(), s->logits().begin(), s->logits().end());
  }
  return logits;
}

TEST(Fork, BothGoOnAsIfTheyWereAlone) {
  for (const char* plan : {"f16", "mikv-c", "mikv-c:scorer=h2o", "mikv-h2o",
                           "mikv-int8:transform=balance:refresh=16", "h2o", "diffkv"}) {
    const auto prompt = some_tokens(300, 1);
    Session alone = session(plan);
    ASSERT_TRUE(alone.prefill(prompt));
    const auto expected_a = steps(&alone, 40, 2);
    Session other = session(plan);
    ASSERT_TRUE(other.prefill(prompt));
    const auto expected_b = steps(&other, 40, 3);

    Session a = session(plan);
    ASSERT_TRUE(a.prefill(prompt));
    auto b = a.fork();
    ASSERT_TRUE(b);
    EXPECT_EQ(std::vector<float>(a.logits().begin(), a.logits().end()),
              std::vector<float>(b->logits().begin(), b->logits().end()));
    std::vector<float> found_a, found_b;  // in turns
    const auto to_a = some_tokens(40, 2), to_b = some_tokens(40, 3);
    for (size_t i = 0; i < 40; ++i) {
      ASSERT_TRUE(a.step(to_a[i]));
      ASSERT_TRUE(b->step(to_b[i]));
      found_a.insert(found_a.end(), a.logits().begin(), a.logits().end());
      found_b.insert(found_b.end(), b->logits().begin(), b->logits().end());
    }
    EXPECT_EQ(found_a, expected_a) << plan;
    EXPECT_EQ(found_b, expected_b) << plan;
    EXPECT_EQ(b->report().readable_tokens, other.report().readable_tokens);
  }
}

TEST(Fork, SharedBlocksAreCountedOnceAndEndWithTheOther) {
  auto a = std::make_unique<Session>(session("rtn2"));
  ASSERT_TRUE(a->prefill(some_tokens(1000, 1)));
  EXPECT_EQ(a->report().forked_bytes, 0u);
  Session b = *a->fork();
  const CacheReport ra = a->report(), rb = b.report();
  EXPECT_EQ(ra.forked_bytes, rb.forked_bytes);
  size_t blocks = 0;
  for (const auto& layer : b.report(true).layers) blocks += layer.bytes;
  EXPECT_EQ(rb.forked_bytes, blocks) << "nothing was written yet";
  steps(&b, 30, 4);
  EXPECT_LT(b.report().forked_bytes, blocks) << "the last block of each tier is now b's own";
  EXPECT_GT(b.report().forked_bytes, blocks / 2) << "full blocks are never written again";
  const auto expected = steps(a.get(), 5, 5);
  Session c = *a->fork();
  a.reset();
  EXPECT_GT(c.report().forked_bytes, 0u) << "b and c share what a left";
  EXPECT_EQ(c.report().bytes + b.report().bytes > 2 * blocks, true);
  for (float x : steps(&c, 5, 6)) ASSERT_TRUE(std::isfinite(x));
  { const Session gone = std::move(b); }
  EXPECT_EQ(c.report().forked_bytes, 0u);
}

TEST(Rollback, TokensTakenBackLeaveNoTrace) {
  for (const char* plan : {"f16", "rtn2", "rtn3:transform=centre", "mikv", "mikv-h2o",
                           "mikv-h2o:high=u8", "mikv-c", "streaming"}) {
    Session s = session(plan), reference = session(plan);
    ASSERT_TRUE(s.prefill(some_tokens(300, 1)));
    ASSERT_TRUE(reference.prefill(some_tokens(300, 1)));
    steps(&s, 8, 7);
    const auto rolled = s.rollback(8);
    ASSERT_TRUE(rolled) << plan << ": " << rolled.error().message;
    EXPECT_EQ(s.tokens(), 300);
    EXPECT_TRUE(s.logits().empty());
    EXPECT_EQ(s.report().bytes, reference.report().bytes) << plan;
    EXPECT_EQ(steps(&s, 6, 8), steps(&reference, 6, 8)) << plan;
  }
}

TEST(Rollback, BackToTheStartIsANewSession) {
  for (const char* plan : {"f16", "rtn2", "q4_0-rot"}) {
    Session s = session(plan);
    ASSERT_TRUE(s.prefill(some_tokens(200, 1)));
    const auto first = steps(&s, 20, 2);
    ASSERT_TRUE(s.rollback(220));
    EXPECT_EQ(s.tokens(), 0);
    ASSERT_TRUE(s.prefill(some_tokens(200, 1)));
    EXPECT_EQ(steps(&s, 20, 2), first) << plan;
  }
}

TEST(Rollback, RefusalsSayHowManyAndChangeNothing) {
  Session s = session("mikv"), reference = session("mikv");
  ASSERT_TRUE(s.prefill(some_tokens(300, 1)));
  ASSERT_TRUE(reference.prefill(some_tokens(300, 1)));
  for (int n : {-1, 301, 250}) {
    const auto refused = s.rollback(n);
    ASSERT_FALSE(refused) << n;
    EXPECT_EQ(refused.error().code, ErrorCode::bad_input);
    EXPECT_NE(refused.error().message.find("allowed are 0 to"), std::string::npos);
  }
  EXPECT_EQ(steps(&s, 3, 8), steps(&reference, 3, 8));
  EXPECT_TRUE(s.rollback(0));
  EXPECT_TRUE(s.rollback(15)) << "the newest twentieth is exact";
}

// A prompt fed in one call, in pieces or token by token, then compressed.
TEST(Streaming, APromptMayComeInAnyPieces) {
  for (const char* plan : {"rtn3", "mikv-4", "mikv-b:low=u4", "knorm"}) {
    const auto prompt = some_tokens(300, 1);
    Session whole = session(plan);
    ASSERT_TRUE(whole.prefill(prompt));
    const TierMap expected_map = whole.tier_map();
    const auto expected = steps(&whole, 10, 2);
    for (size_t piece : {size_t{1}, size_t{37}}) {
      Session s = session(plan);
      for (size_t first = 0; first < prompt.size(); first += piece)
        ASSERT_TRUE(s.feed(std::span(prompt).subspan(first, std::min(piece, 300 - first))));
      ASSERT_TRUE(s.compress());
      const TierMap map = s.tier_map();
      size_t same = 0;
      for (size_t i = 0; i < map.level.size(); ++i) same += map.level[i] == expected_map.level[i];
      // Sums in another order move a score by rounding: a few rows near the threshold differ.
      EXPECT_GT(static_cast<double>(same) / static_cast<double>(map.level.size()), 0.98)
          << plan << " in pieces of " << piece;
      double difference = 0, power = 0;
      const auto found = steps(&s, 10, 2);
      for (size_t i = 0; i < found.size(); ++i) {
        difference += std::pow(found[i] - expected[i], 2);
        power += std::pow(expected[i], 2);
      }
      EXPECT_LT(difference, 0.01 * power) << plan << " in pieces of " << piece;
    }
  }
}

TEST(Streaming, EveryTurnOfAChatLeavesTheQuotas) {
  for (const char* plan : {"mikv", "mikv-h2o", "mikv-c", "diffkv", "h2o:quota=fixed"}) {
    Session s = session(plan);
    for (int turn = 0; turn < 4; ++turn) {
      ASSERT_TRUE(s.prefill(some_tokens(100, static_cast<uint64_t>(turn))));
      steps(&s, 20, 9);
    }
    ASSERT_TRUE(s.compress());
    const CacheReport report = s.report();
    EXPECT_EQ(report.tokens, 480);
    double held = 0;
    for (const auto& tier : report.tiers) held += tier.tokens;
    const double share = std::string(plan) == "diffkv" ? 0.6 * 480 : plan[0] == 'h' ? 20 : 480;
    EXPECT_EQ(held, share) << plan;
    EXPECT_EQ(report.readable_tokens, static_cast<int64_t>(share)) << plan;
  }
}

}  // namespace
}  // namespace kvkeep
