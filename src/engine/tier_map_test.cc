// Where tokens stand after a prompt, against what budget and report promise.
#include "engine/tier_map.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/rng.h"
#include "kvkeep/session.h"

namespace kvkeep {
namespace {

const Model& embedded() {
  static const Model model = *Model::load(KVKEEP_SOURCE_DIR "/models/kvkeep-5m-f16.gguf");
  return model;
}

// 100 random tokens, prefilled and compressed.
Session prefilled(const std::string& plan) {
  Session session = *Session::create(embedded(), *Plan::parse(plan), {1, 0});
  Rng rng(7);
  std::vector<int32_t> tokens(100);
  for (auto& token : tokens) token = static_cast<int32_t>(rng.below(2000));
  EXPECT_TRUE(session.prefill(tokens));
  return session;
}

int64_t count(std::span<const int8_t> row, int level) {
  return std::count(row.begin(), row.end(), static_cast<int8_t>(level));
}

TEST(TierMap, MikvKeepsItsShareHighAndEveryTokenReadable) {
  const TierMap map = prefilled("mikv").tier_map();
  ASSERT_EQ(map.layers, 6);
  ASSERT_EQ(map.kv_heads, 2);
  ASSERT_EQ(map.tokens, 100);
  ASSERT_EQ(map.levels.size(), 2u);
  EXPECT_EQ(map.levels[0].layout_k, "f16");
  EXPECT_EQ(map.low_level, 1);
  for (int layer = 0; layer < map.layers; ++layer)
    for (int head = 0; head < map.kv_heads; ++head) {
      const auto row = map.row(layer, head);
      EXPECT_EQ(count(row, 0), 20) << "20 % of 100 are important";
      EXPECT_EQ(count(row, 1), 80);
      EXPECT_EQ(count(row.last(5), 0), 5) << "a quarter of them are the newest";
      EXPECT_TRUE(map.is_high(layer, head, 99));
    }
}

TEST(TierMap, StreamingKeepsSinksAndTheNewestAndEvictsTheRest) {
  const TierMap map = prefilled("streaming").tier_map();
  ASSERT_EQ(map.levels.size(), 1u);
  EXPECT_EQ(map.low_level, 1);
  for (int position = 0; position < 100; ++position) {
    const bool kept = position < 4 || position >= 84;
    EXPECT_EQ(map.row(3, 1)[static_cast<size_t>(position)], kept ? 0 : TierMap::kEvicted);
    EXPECT_EQ(map.is_high(3, 1, position), kept) << position;
  }
}

TEST(TierMap, ALadderOfThreeLevelsAddsUpToTheReport) {
  Session session = prefilled("mikv-int8:window=5");
  for (int i = 0; i < 7; ++i) ASSERT_TRUE(session.step(5 + i));
  const TierMap map = session.tier_map();
  const CacheReport report = session.report();
  ASSERT_EQ(map.levels.size(), 3u);
  EXPECT_EQ(map.low_level, 2);
  ASSERT_EQ(report.tiers.size(), 3u);
  for (int level = 0; level < 3; ++level) {
    const double mean = static_cast<double>(count(map.level, level)) / (6 * 2);
    EXPECT_DOUBLE_EQ(mean, report.tiers[static_cast<size_t>(level)].tokens) << level;
  }
  EXPECT_EQ(count(map.level, TierMap::kEvicted), 0);
  EXPECT_TRUE(map.is_high(0, 0, 106));
}

TEST(TierMap, AnEmptySessionHasNoPositions) {
  const Session session = *Session::create(embedded(), *Plan::parse("f16"), {1, 0});
  const TierMap map = session.tier_map();
  EXPECT_EQ(map.tokens, 0);
  EXPECT_TRUE(map.row(5, 1).empty());
}

}  // namespace
}  // namespace kvkeep
