// New chains for rows to come: what was coded before stays readable by what it was coded with.
#include "codec/transforms.h"

#include <gtest/gtest.h>

#include <climits>
#include <cmath>

#include "base/rng.h"
#include "codec/pipeline.h"

namespace kvkeep {
namespace {

constexpr int kDim = 32;

TransformContext one_head() {
  TransformContext context{1, 1, kDim, 4096, {}};
  context.rope.dim = kDim;
  return context;
}

// A head whose keys have channel `loud` eight times as large as the others.
struct Head {
  explicit Head(const char* text)
      : pipeline(*Pipeline::make(*Plan::parse(text), one_head())),
        cache(1, 1, pipeline.tier_shapes()) {}

  void append(int n, int loud) {
    for (int i = 0; i < n; ++i, ++tokens) {
      std::vector<float> k(kDim), v(kDim), q(kDim);
      for (float& x : k) x = 0.5f + 0.5f * static_cast<float>(rng.uniform());
      for (float& x : v) x = rng.normal();
      for (float& x : q) x = 1.0f;
      k[static_cast<size_t>(loud)] *= 8.0f;
      keys.insert(keys.end(), k.begin(), k.end());
      pipeline.observe_queries(0, q.data(), 1, 1, tokens);
      ASSERT_TRUE(pipeline.append(&cache, {}, tokens, k.data(), v.data()));
    }
  }
  void demote(bool flush) { pipeline.demote(&cache, {}, 0, tokens, flush); }
  // Factor of a channel as the rows of a block were coded with it.
  float factor(int block, size_t channel) const {
    std::vector<float> key(kDim, 1.0f);
    for (const auto& transform : pipeline.transforms().chain({}, pipeline.epoch({}, 1, block)))
      transform->forward_key({}, key.data(), 0);
    return key[channel];
  }

  Pipeline pipeline;
  Sequence cache;
  Rng rng{4};
  std::vector<float> keys;  // [tokens][kDim]
  int tokens = 0;
};

// Rows go down oldest first here, so slot i holds token i. The loud channel moves from 3 to 7 after
// 100 tokens: factors are sqrt(1 / max|k|), and only those of blocks begun later know of it.
TEST(Transforms, RefreshedFactorsHoldForBlocksToCome) {
  Head head("rtn2:low.k=u8,transform=balance:refresh=128");
  head.append(100, 3);
  head.demote(true);
  ASSERT_EQ(head.cache.tier(0, 0, 1).size(), 100);
  EXPECT_EQ(head.pipeline.transforms().epochs({}), 1);
  for (int i = 0; i < 260; ++i) {
    head.append(1, 7);
    head.demote(false);
  }
  // 228 tokens and more were seen when block 4 began.
  const Transforms& transforms = head.pipeline.transforms();
  ASSERT_EQ(transforms.epochs({}), 2);
  EXPECT_EQ(transforms.epoch_end({}, 0), 4);
  EXPECT_NEAR(head.factor(3, 3), std::sqrt(1.0f / 8.0f), 0.01f);
  EXPECT_NEAR(head.factor(3, 7), 1.0f, 0.01f);
  EXPECT_NEAR(head.factor(4, 3), 1.0f, 0.02f);
  EXPECT_NEAR(head.factor(4, 7), std::sqrt(1.0f / 8.0f), 0.02f);
  // All rows are still what they were, within 8 bits of their range.
  const int n = head.cache.tier(0, 0, 1).size();
  std::vector<float> k(static_cast<size_t>(n * kDim)), v(k.size());
  head.pipeline.read_rows(head.cache, {}, 1, 0, n, k.data(), v.data());
  for (size_t i = 0; i < k.size(); ++i) EXPECT_NEAR(k[i], head.keys[i], 0.03f) << i;
}

// Queries of two q_heads, q[c] = 1 and 3 but on channel 5 four times that: their squares sum up,
// and the factor of channel 5 is sqrt(4) of the others'. After a refresh only newer ones count.
TEST(Transforms, ByRmsLearnsFromAllQueriesSinceTheLastFit) {
  Head head("rtn2:low.k=u8,transform=balance:refresh=64,transform.by=rms");
  const auto append = [&](int n, size_t loud) {
    for (int i = 0; i < n; ++i, ++head.tokens) {
      std::vector<float> k(kDim), q(2 * kDim);
      for (float& x : k) x = head.rng.uniform() < 0.5 ? -1.0f : 1.0f;
      for (size_t c = 0; c < q.size(); ++c)
        q[c] = (c < kDim ? 1.0f : -3.0f) * (c % kDim == loud ? 4.0f : 1.0f);
      head.pipeline.observe_queries(0, q.data(), 1, 2, head.tokens);
      ASSERT_TRUE(head.pipeline.append(&head.cache, {}, head.tokens, k.data(), k.data()));
    }
    head.demote(true);
  };
  append(128, 5);
  append(128, 9);
  ASSERT_EQ(head.pipeline.transforms().epochs({}), 2);
  EXPECT_NEAR(head.factor(0, 5) / head.factor(0, 9), 2.0f, 0.01f);
  EXPECT_NEAR(head.factor(0, 0), head.factor(0, 9), 0.01f);
  EXPECT_NEAR(head.factor(3, 9) / head.factor(3, 5), 2.0f, 0.01f);
}

TEST(Transforms, EveryByteOfAnEpochIsCounted) {
  Head head("rtn2:transform=balance:refresh=128");
  head.append(100, 3);
  head.demote(true);
  const size_t before = head.pipeline.transform_bytes();
  for (int i = 0; i < 260; ++i) {
    head.append(1, 7);
    head.demote(false);
  }
  ASSERT_EQ(head.pipeline.transforms().epochs({}), 2);
  // 32 factors in f16, the tokens they were fitted at, one pointer, and the epoch itself.
  const size_t epoch = sizeof(int) + sizeof(Transforms::Chain) + 4;
  EXPECT_EQ(head.pipeline.transform_bytes() - before, 64u + sizeof(int) + 16u + epoch);
}

TEST(Transforms, AForkGoesItsOwnWay) {
  Head head("rtn2:low.k=u8,transform=balance:refresh=64");
  head.append(128, 3);
  head.demote(true);
  const Pipeline copy = head.pipeline.fork();
  for (int i = 0; i < 100; ++i) {
    head.append(1, 7);
    head.demote(false);
  }
  EXPECT_EQ(head.pipeline.transforms().epochs({}), 2);
  EXPECT_EQ(copy.transforms().epochs({}), 1);
}

// Keys around one mean before RoPE, then around its opposite: |k - m| is then twice |k|.
TEST(Transforms, CentringStopsWhenTheTextChangesKind) {
  for (const bool guard : {true, false}) {
    Head head(guard ? "rtn2:low=u8,transform=centre" : "rtn2:low=u8,transform=centre:guard=off");
    const Rope rope(one_head().rope);
    const auto append = [&](int n, float mean) {
      for (int i = 0; i < n; ++i, ++head.tokens) {
        std::vector<float> k(kDim), v(kDim);
        for (float& x : k) x = mean + 0.3f * head.rng.normal();
        rope.apply(k.data(), head.tokens);
        head.keys.insert(head.keys.end(), k.begin(), k.end());
        ASSERT_TRUE(head.pipeline.append(&head.cache, {}, head.tokens, k.data(), v.data()));
      }
    };
    append(128, 1.0f);
    head.demote(true);
    append(64, 1.0f);
    head.demote(true);
    EXPECT_EQ(head.pipeline.transforms().epochs({}), 1) << "the same text";
    append(64, -1.0f);
    head.demote(true);
    const Transforms& transforms = head.pipeline.transforms();
    ASSERT_EQ(transforms.epochs({}), guard ? 2 : 1);
    EXPECT_EQ(transforms.chain({}, transforms.epoch({}, 2)).size(), 1u);
    EXPECT_EQ(transforms.chain({}, transforms.epoch({}, 3)).size(), guard ? 0u : 1u);
    const int n = head.cache.tier(0, 0, 1).size();
    std::vector<float> k(static_cast<size_t>(n * kDim)), v(k.size());
    head.pipeline.read_rows(head.cache, {}, 1, 0, n, k.data(), v.data());
    for (size_t i = 0; i < k.size(); ++i) EXPECT_NEAR(k[i], head.keys[i], 0.03f) << i;
  }
}

// Two coded levels: the upper one keeps the first chain, rows that go from it into the low level
// get the newest one. The guard learns from rows of the upper level, few others being exact.
TEST(Transforms, OnACodedLadderOnlyTheLowLevelChanges) {
  Head head("mikv-int8:scorer=recency,keep=0.5,recent=1,high=u8gt,low=u8gt,transform=centre");
  const Rope rope(one_head().rope);
  const auto demote = [&] {
    for (int level = 0; level < 2; ++level)
      head.pipeline.demote(&head.cache, {}, level, head.tokens, true);
  };
  for (int i = 0; i < 1024; ++i) {
    std::vector<float> k(kDim), v(kDim);
    for (float& x : k) x = (i < 256 ? 1.0f : -1.0f) + 0.3f * head.rng.normal();
    for (float& x : v) x = head.rng.normal();
    rope.apply(k.data(), i);
    head.keys.insert(head.keys.end(), k.begin(), k.end());
    ASSERT_TRUE(head.pipeline.append(&head.cache, {}, i, k.data(), v.data()));
    head.tokens = i + 1;
    if (head.tokens % 64 == 0) demote();
  }
  EXPECT_EQ(head.cache.tier(0, 0, 0).size(), 0);
  ASSERT_EQ(head.pipeline.transforms().epochs({}), 2);
  EXPECT_EQ(head.pipeline.epoch({}, 1, 7), 0);
  EXPECT_EQ(head.pipeline.epoch({}, 2, 0), 0);
  EXPECT_EQ(head.pipeline.epoch({}, 2, 7), 1);
  EXPECT_EQ(head.pipeline.epoch_end({}, 1, 0), INT_MAX);
  // Half of the rows are in the low level: block 2 begins when 320 were seen, 64 of the other kind.
  EXPECT_EQ(head.pipeline.epoch_end({}, 2, 0), 2);
  for (const int level : {1, 2}) {
    const Tier& tier = head.cache.tier(0, 0, level);
    ASSERT_EQ(tier.size(), 512);
    std::vector<float> k(static_cast<size_t>(tier.size() * kDim)), v(k.size());
    head.pipeline.read_rows(head.cache, {}, level, 0, tier.size(), k.data(), v.data());
    for (int slot = 0; slot < tier.size(); ++slot)
      for (int c = 0; c < kDim; ++c)
        EXPECT_NEAR(k[static_cast<size_t>(slot * kDim + c)],
                    head.keys[static_cast<size_t>(tier.position(slot) * kDim + c)], 0.05f)
            << level << ' ' << slot;
  }
}

TEST(Transforms, RefreshIsRefusedWhereRowsMove) {
  const char* plan = "h2o:high=u4,window=8,transform=balance:refresh=64";
  const auto made = Pipeline::make(*Plan::parse(plan), one_head());
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("rows that stay where they were coded"), std::string::npos);
  for (const char* allowed :
       {"mikv-int8:transform=centre", "mikv-int8:transform=balance:refresh=64"})
    EXPECT_TRUE(Pipeline::make(*Plan::parse(allowed), one_head())) << allowed;
}

}  // namespace
}  // namespace kvkeep
