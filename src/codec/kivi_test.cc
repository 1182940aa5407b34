#include "codec/kivi.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/half.h"
#include "base/rng.h"
#include "codec/pipeline.h"
#include "kernels/isa.h"

namespace kvkeep {
namespace {

// Keys whose channel c has the mean 8 * (c % 5) and the width 1, or 30 for one channel in 16.
std::vector<float> keys_with_outliers(int tokens, int d, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> rows;
  for (int t = 0; t < tokens; ++t)
    for (int c = 0; c < d; ++c)
      rows.push_back(8.0f * static_cast<float>(c % 5) + (c % 16 == 3 ? 30 : 1) * rng.normal());
  return rows;
}

TEST(Kivi, EveryValueIsWithinHalfAStepOfItsChannel) {
  for (const LayoutId id : {LayoutId::k2, LayoutId::k4})
    for (const int d : {8, 40, 64, 128}) {
      const PartShape shape = part_shape({id, 0}, d);
      AlignedBuffer<std::byte> part(shape.bytes());
      const std::vector<float> rows = keys_with_outliers(kBlockTokens, d, 1);
      for (int tile = 0; tile < kBlockTiles; tile += kChannelTiles)
        kivi_write(shape, rows.data() + tile * kTileTokens * d, part.data(), tile);
      std::vector<float> back(rows.size());
      for (const KernelTable* table : runnable_kernels()) {
        table->read_keys[static_cast<size_t>(id)](shape, part.data(), 0, kBlockTokens, back.data(),
                                                  d);
        for (int first = 0; first < kBlockTokens; first += kChannelTokens)
          for (int c = 0; c < d; ++c) {
            float low = 1e9f, high = -1e9f;
            for (int t = first; t < first + kChannelTokens; ++t) {
              const float x = rows[static_cast<size_t>(t * d + c)];
              low = std::min(low, x);
              high = std::max(high, x);
            }
            const float step = (high - low) / static_cast<float>((1 << layout_bits(id)) - 1);
            for (int t = first; t < first + kChannelTokens; ++t) {
              const auto at = static_cast<size_t>(t * d + c);
              ASSERT_NEAR(back[at], rows[at], 0.5f * step + 0.002f * (std::fabs(high) + step))
                  << table->name << " token " << t << " channel " << c;
            }
          }
      }
    }
}

TEST(Kivi, ConstantChannelsAreExactAndHugeOnesFinite) {
  const PartShape shape = part_shape({LayoutId::k2, 0}, 64);
  AlignedBuffer<std::byte> part(shape.bytes());
  std::vector<float> back(kChannelTokens * 64);
  for (const float value : {0.0f, -2.5f, 65504.0f, 1e30f}) {
    kivi_write(shape, std::vector<float>(back.size(), value).data(), part.data(), 2);
    kernels().read_keys[static_cast<size_t>(shape.id)](shape, part.data(), 32, kChannelTokens,
                                                       back.data(), 64);
    for (const float x : back) EXPECT_EQ(x, std::min(value, 65504.0f));
  }
}

struct Filled {
  explicit Filled(int n, const char* text = "kivi2")
      : pipeline(*Pipeline::make(*Plan::parse(text), {1, 1, 64, 4096, {}})),
        cache(1, 1, pipeline.tier_shapes()),
        keys(keys_with_outliers(n, 64, 2)) {
    for (; tokens < n; ++tokens) {
      const float* row = keys.data() + tokens * 64;
      EXPECT_TRUE(pipeline.append(&cache, {}, tokens, row, row));
    }
  }
  int size(int level) const { return cache.tier(0, 0, level).size(); }

  Pipeline pipeline;
  Sequence cache;
  std::vector<float> keys;
  int tokens = 0;
};

// 200 tokens: 32 stay exact, and of the other 168 what makes groups of 32.
TEST(Kivi, TokensGoDownInOrderAndInWholeGroups) {
  Filled filled(200);
  filled.pipeline.demote(&filled.cache, {}, 0, 200, true);
  EXPECT_EQ(filled.size(1), 160);
  EXPECT_EQ(filled.size(0), 40);
  EXPECT_EQ(filled.pipeline.due(filled.cache, {}, 0, 223, true), 0);
  std::vector<float> k(160 * 64), v(k.size());
  filled.pipeline.read_rows(filled.cache, {}, 1, 0, 160, k.data(), v.data());
  double error = 0, power = 0;
  for (size_t i = 0; i < k.size(); ++i) {
    error += std::pow(k[i] - filled.keys[i], 2);
    power += std::pow(filled.keys[i], 2);
  }
  EXPECT_LT(error / power, 0.05) << "outlier channels have scales of their own";
  for (int slot : {0, 31, 159}) EXPECT_EQ(filled.cache.tier(0, 0, 1).position(slot), slot);
}

TEST(Kivi, GroupsAreNotParted) {
  Filled filled(200);
  filled.pipeline.demote(&filled.cache, {}, 0, 200, true);
  EXPECT_TRUE(filled.pipeline.can_take_back(filled.cache, {}, 180, 200));
  EXPECT_FALSE(filled.pipeline.can_take_back(filled.cache, {}, 150, 200));
  EXPECT_TRUE(filled.pipeline.can_take_back(filled.cache, {}, 128, 200));
  filled.pipeline.take_back(&filled.cache, {}, 128);
  EXPECT_EQ(filled.size(1), 128);
  EXPECT_EQ(filled.size(0), 0);
}

TEST(Kivi, BitsAreCountedWhole) {
  EXPECT_DOUBLE_EQ(Filled(0).pipeline.paper_bits_per_value(), 3.0);
  EXPECT_DOUBLE_EQ(Filled(0, "kivi4").pipeline.paper_bits_per_value(), 5.0);
  EXPECT_EQ(part_shape({LayoutId::k2, 0}, 128).bytes() * 8, 64u * 128u * 3);
}

TEST(Kivi, PlansThatMixTheOrderAreRefused) {
  for (const char* text :
       {"kivi2:scorer=h2o", "kivi2:keep=0.2", "low=kivi", "kivi2:mid=u4,mid_keep=0.1"}) {
    const auto plan = Plan::parse(text);
    ASSERT_FALSE(plan) << text;
    EXPECT_EQ(plan.error().message,
              "plan: slot 'low', kivi: tokens go down in order; allowed: scorer=recency, budget "
              "keep=0, mid=none");
  }
  EXPECT_FALSE(Plan::parse("rtn2:low.k=k2"));
}

}  // namespace
}  // namespace kvkeep
