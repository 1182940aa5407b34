// Uneven budgets on the embedded model: what heads hold differs, what all of them hold does not,
// and it survives text that grows, forks and rollback.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "engine/session_fixture.h"

namespace kvkeep {
namespace {

// Tokens of every (layer, kv_head) on levels 0 .. last.
std::vector<int> held(const Session& s, int last) {
  const TierMap map = s.tier_map();
  std::vector<int> counts;
  for (int layer = 0; layer < map.layers; ++layer)
    for (int head = 0; head < map.kv_heads; ++head) {
      const auto row = map.row(layer, head);
      counts.push_back(static_cast<int>(std::count_if(
          row.begin(), row.end(), [&](int8_t level) { return level >= 0 && level <= last; })));
    }
  return counts;
}
int sum(const std::vector<int>& counts) {
  int all = 0;
  for (int n : counts) all += n;
  return all;
}

// Every ladder: evicting, two levels, a coded high tier, three levels.
TEST(UnevenBudget, SpendsWhatTheEvenOneDoesInRealBytes) {
  const auto tokens = some_tokens(264, 9);
  for (const std::string base : {"snapkv", "mikv", "mikv-h2o", "mikv-int8", "diffkv"})
    for (const char* budget : {"pyramid", "ada"}) {
      Session even = session(base), uneven = session(base + ":budget=" + budget);
      for (Session* s : {&even, &uneven}) ASSERT_TRUE(s->prefill(std::span(tokens).first(200)));
      const int low = even.tier_map().low_level;
      const auto expected = held(even, low - 1), found = held(uneven, low - 1);
      EXPECT_EQ(sum(found), sum(expected)) << base << " " << budget;
      EXPECT_GT(std::set<int>(found.begin(), found.end()).size(), 1u) << base << " " << budget;
      for (size_t t = 200; t < 264; ++t)
        for (Session* s : {&even, &uneven}) ASSERT_TRUE(s->step(tokens[t]));
      EXPECT_NEAR(sum(held(uneven, low - 1)), sum(held(even, low - 1)), 16 * 12)
          << base << " " << budget << ": a batch a head may wait";
      ASSERT_TRUE(even.compress());
      ASSERT_TRUE(uneven.compress());
      EXPECT_LE(sum(held(uneven, low - 1)), sum(held(even, low - 1))) << base << " " << budget;
      // Blocks of 64 tokens: at most one more for each head.
      const size_t block = 2 * 64 * 64 * 2 + 1024;
      EXPECT_LT(uneven.report().bytes, even.report().bytes + 12 * block) << base << " " << budget;
    }
}

TEST(UnevenBudget, ForksAndRollbackGoOnAsIfAlone) {
  const auto tokens = some_tokens(230, 9);
  for (const char* plan : {"adakv", "mikv-h2o:budget=ada,window=32", "adakv:quota=fixed"}) {
    Session first = session(plan);
    ASSERT_TRUE(first.prefill(std::span(tokens).first(150)));
    Session copy = *first.fork(1);
    for (Session* s : {&first, &copy})
      for (size_t t = 150; t < 190; ++t) ASSERT_TRUE(s->step(tokens[t]));
    EXPECT_TRUE(std::equal(first.logits().begin(), first.logits().end(), copy.logits().begin()))
        << plan;
    EXPECT_EQ(held(first, 0), held(copy, 0)) << plan;
    ASSERT_TRUE(first.rollback(8)) << plan;
    for (size_t t = 182; t < 230; ++t) ASSERT_TRUE(first.step(tokens[t]));
    for (float x : first.logits()) ASSERT_TRUE(std::isfinite(x)) << plan;
    EXPECT_EQ(first.tokens(), 230);
  }
}

// Prompts of one token, prompts shorter than what is pinned, and the first tokens after them.
TEST(UnevenBudget, TinyPromptsWorkForEveryScorerAndBudget) {
  for (const char* scorer :
       {"h2o", "scissorhands", "keydiff", "damage", "expected", "bumblebee", "knorm"})
    for (const char* budget : {"uniform", "pyramid", "ada"})
      for (int prompt : {1, 7}) {
        Session s = session(std::string("scorer=") + scorer + ";budget=" + budget +
                            ":keep=0.1,sinks=2,window=4;low=drop");
        ASSERT_TRUE(s.prefill(some_tokens(prompt, 9)));
        EXPECT_EQ(held(s, 0), std::vector<int>(12, std::min(prompt, 6))) << scorer << budget;
        for (int i = 0; i < 20; ++i) ASSERT_TRUE(s.step(5 + i));
        for (float x : s.logits()) ASSERT_TRUE(std::isfinite(x)) << scorer << budget;
      }
}

}  // namespace
}  // namespace kvkeep
