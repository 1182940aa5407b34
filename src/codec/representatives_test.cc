// Representatives in a whole pipeline: how many stay, when, and what is stored for it.
#include "codec/representatives/representatives.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "base/rng.h"
#include "codec/pipeline.h"

namespace kvkeep {
namespace {

constexpr int kHeads = 2, kGqa = 3, kDim = 32;

struct Layer {
  explicit Layer(const std::string& text)
      : pipeline(*Pipeline::make(*Plan::parse(text), {1, kHeads, kDim, 4096, {}, kGqa})),
        cache(1, kHeads, pipeline.tier_shapes()) {}

  void append(int n) {
    for (int i = 0; i < n; ++i, ++tokens)
      for (int h = 0; h < kHeads; ++h) {
        std::vector<float> row(2 * kDim);
        for (float& x : row) x = rng.normal();
        ASSERT_TRUE(pipeline.append(&cache, {0, h}, tokens, row.data(), row.data() + kDim));
      }
  }
  static constexpr float kOne = 1.0f;
  // A read that every lane of every ranked slot sees differently.
  void observe() {
    for (int h = 0; h < kHeads; ++h)
      for (int level = 0; level < cache.levels(); ++level) {
        Tier& tier = cache.tier(0, h, level);
        for (int lane = 0; tier.shape().scored && lane <= tier.shape().head_scores; ++lane)
          for (int b = 0; b < tier.blocks(); ++b) {
            const int n = std::min(kBlockTokens, tier.size() - b * kBlockTokens);
            float mass[kBlockTokens];
            for (float& x : mass) x = rng.uniform();
            tier.make_own(b, b + 1);
            pipeline.update_scores(&tier, b, n, {mass, &kOne, 1}, {}, lane);
          }
      }
  }
  void demote(bool flush) {
    for (int level = 0; level < cache.levels(); ++level) {
      if (level == pipeline.layer_level()) {
        pipeline.demote_layer(&cache, 0, tokens, flush);
        continue;
      }
      for (int h = 0; h < kHeads; ++h) pipeline.demote(&cache, {0, h}, level, tokens, flush);
    }
  }
  std::set<int> held(int h, int level = 0) const {
    std::set<int> positions;
    const Tier& tier = cache.tier(0, h, level);
    for (int i = 0; i < tier.size(); ++i) positions.insert(tier.position(i));
    return positions;
  }

  Pipeline pipeline;
  Sequence cache;
  Rng rng{5};
  int tokens = 0;
};

TEST(Representatives, StandInPlacesOfTheBudget) {
  Layer layer("kvcrush:base=h2o,keep=0.25,share=0.25,sinks=2"), base("h2o:keep=0.25,sinks=2");
  layer.append(200);
  layer.observe();
  std::vector<std::pair<float, int>> best;  // of kv_head 0: score, position
  const Tier& tier = layer.cache.tier(0, 0, 0);
  for (int i = 2; i < 175; ++i) best.emplace_back(tier.score(i), i);
  std::sort(best.rbegin(), best.rend());
  layer.demote(true);
  for (int h = 0; h < kHeads; ++h) EXPECT_EQ(layer.held(h).size(), 50u);
  const auto held = layer.held(0);
  for (int p : {0, 1}) EXPECT_TRUE(held.contains(p));
  for (int p = 175; p < 200; ++p) EXPECT_TRUE(held.contains(p)) << p;  // the newest 25
  // 23 places are left: 12 are representatives, the best scores have the other 11.
  for (size_t i = 0; i < 11; ++i) EXPECT_TRUE(held.contains(best[i].second)) << i;
  EXPECT_NE(layer.held(1), held);
}

// Every n tokens while decoding, as many rows leave as came.
TEST(Representatives, AreChosenAnewWhileDecodingAtConstantSize) {
  for (const char* text :
       {"kvcrush:base=h2o,quota=fixed", "kvcrush:quota=fixed,bits=kv_head",
        "kvcrush-block:quota=fixed,block=8", "h2o:representatives=random,quota=fixed"}) {
    Layer layer(text);
    layer.append(320);
    layer.observe();
    layer.pipeline.see_prompt(320);
    layer.demote(true);
    std::set<int> ever = layer.held(0);
    for (int step = 1; step <= 64; ++step) {
      layer.append(1);
      layer.observe();
      layer.demote(false);
      for (int h = 0; h < kHeads; ++h)
        ASSERT_EQ(layer.held(h).size(), static_cast<size_t>(64 + step % 16)) << text;
      for (int p : layer.held(0)) ASSERT_TRUE(p >= 320 || ever.contains(p)) << "came back";
    }
  }
}

TEST(Representatives, StayExactWhereTheOthersAreCoded) {
  Layer layer("mikv-h2o:representatives=kvcrush");
  layer.append(320);
  layer.observe();
  layer.demote(true);
  EXPECT_EQ(layer.cache.tier(0, 0, 0).size(), 64);
  EXPECT_EQ(layer.cache.tier(0, 0, 1).size(), 256);
}

// Below a coded high tier: what q_heads think goes with the row.
TEST(Representatives, ScoresOfHeadsGoDownWithTheRow) {
  Layer layer("mikv-h2o:high=u8,representatives=kvcrush,window=4");
  EXPECT_EQ(layer.pipeline.layer_level(), 1);
  layer.append(80);
  layer.observe();
  std::vector<float> before;
  for (int lane = 0; lane <= kGqa; ++lane)
    before.push_back(layer.cache.tier(0, 1, 0).score(75, lane));
  layer.demote(true);
  const Tier& high = layer.cache.tier(0, 1, 1);
  ASSERT_EQ(high.size(), 12);
  bool found = false;
  for (int slot = 0; slot < high.size(); ++slot)
    for (int lane = 0; high.position(slot) == 75 && lane <= kGqa; ++lane, found = true)
      EXPECT_EQ(high.score(slot, lane), before[static_cast<size_t>(lane)]);
  EXPECT_TRUE(found);
}

TEST(Representatives, CountTheirBytes) {
  const auto score_bytes = [](const char* text) {
    return Pipeline::make(*Plan::parse(text), {1, kHeads, kDim, 4096, {}, kGqa})
        ->tier_shapes()[0]
        .score_bytes();
  };
  EXPECT_EQ(score_bytes("h2o"), 2u);
  EXPECT_EQ(score_bytes("kvcrush"), 2u + 2 * kGqa);
  EXPECT_EQ(score_bytes("kvcrush:bits=kv_head"), 2u);
  EXPECT_EQ(score_bytes("kvcrush-block"), 2u);
}

TEST(Representatives, OddBudgetsAreDefined) {
  for (const char* text :
       {"kvcrush:keep=0.01", "kvcrush:share=1", "kvcrush:share=0", "kvcrush:keep=1",
        "kvcrush:sinks=40,budget.window=40", "kvcrush-block:block=1024", "kvcrush:recent=1"})
    for (int tokens : {1, 2, 70}) {
      Layer layer(text);
      layer.append(tokens);
      layer.observe();
      layer.demote(true);
      const auto quota = layer.pipeline.quota({0, 0}, tokens);
      EXPECT_EQ(layer.cache.tier(0, 0, 0).size(), quota.high) << text << ", " << tokens;
    }
}

TEST(Plan, RepresentativesFitTheirScorer) {
  EXPECT_EQ(Plan::parse("kvcrush:base=tova,share=0.5")->canonical(),
            Plan::parse("tova:representatives=kvcrush:share=0.5")->canonical());
  EXPECT_EQ(Plan::parse("kvcrush:scorer=h2o,anchor=mean")->slot("representatives").param("anchor"),
            "mean");
  const auto blind = Plan::parse("kvcrush:scorer=knorm");
  ASSERT_FALSE(blind);
  EXPECT_NE(blind.error().message.find("observe attention"), std::string::npos);
  EXPECT_FALSE(Plan::parse("kvcrush:base=nothing"));
  EXPECT_FALSE(Plan::parse("h2o:base=snapkv"));
  EXPECT_FALSE(Plan::parse("kvcrush:share=2"));
  EXPECT_TRUE(Plan::parse("knorm:representatives=random"));
}

}  // namespace
}  // namespace kvkeep
