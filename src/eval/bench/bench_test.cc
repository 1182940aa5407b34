// What the measurements stand on: caches that hold what they say, a model file that loads, bars
// that compare the right way round. Speed itself is not tested.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "eval/bench/bars.h"
#include "eval/bench/measure.h"
#include "eval/bench/process.h"
#include "eval/bench/random_model.h"
#include "eval/bench/synthetic.h"
#include "kvkeep/session.h"

namespace kvkeep::bench {
namespace {

TEST(Rounds, MedianAndExtremes) {
  const Spread odd = spread_of({3, 1, 2}), even = spread_of({4, 1, 2, 3});
  EXPECT_EQ(odd.median, 2);
  EXPECT_EQ(even.median, 2.5);
  EXPECT_EQ(even.min, 1);
  EXPECT_EQ(even.max, 4);
  EXPECT_EQ(ratio_of({2, 9}, {1, 3}).max, 3);
}

TEST(ReadSum, TouchesEveryByte) {
  for (const size_t bytes : {size_t{64}, size_t{128}, size_t{192}, size_t{1088}}) {
    std::vector<std::byte> data(bytes);
    EXPECT_EQ(read_sum(data.data(), bytes), 0u);
    for (size_t i = 0; i < bytes; i += 8) {
      data[i] = std::byte{1};
      EXPECT_EQ(read_sum(data.data(), bytes), 1u) << i;
      data[i] = std::byte{0};
    }
  }
}

TEST(Synthetic, HoldsItsTokensInItsLayouts) {
  for (const char* text : {"f16", "u4", "s4g32", "u4/u2", "c2"}) {
    const auto pair = parse_layout_pair(text).value();
    EXPECT_EQ(pair.name(), text);
    const SyntheticShape shape{2, 3, 64, 130};
    const auto made = SyntheticCache::make(plan_of(pair).value(), shape).value();
    Sequence& cache = made->cache();
    const int last = cache.levels() - 1;
    for (int layer = 0; layer < 2; ++layer)
      for (int head = 0; head < 3; ++head) {
        EXPECT_EQ(cache.tier(layer, head, 0).size(), pair.exact() ? 130 : 1);
        if (!pair.exact()) {
          EXPECT_EQ(cache.tier(layer, head, last).size(), 129);
        }
      }
    const Level& level = made->pipeline().levels()[static_cast<size_t>(last)];
    EXPECT_EQ(level.k.id, pair.k.id);
    EXPECT_EQ(level.v.id, pair.v.id);
    // Real rows: those of another block of the same prototype differ from these.
    std::vector<float> k(2 * 64), v(2 * 64);
    made->pipeline().read_rows(cache, {1, 2}, last, 63, 2, k.data(), v.data());
    for (size_t c = 0; c < 64; ++c) EXPECT_LT(std::abs(k[c]), 6.0f);
    EXPECT_NE(k[0], k[64]);
    EXPECT_NE(v[0], v[64]);
  }
  EXPECT_FALSE(parse_layout_pair("f16/u4"));
  EXPECT_FALSE(parse_layout_pair("u4/"));
  for (const char* text : {"k2", "c2/u2", "u2/c2"})
    EXPECT_FALSE(plan_of(parse_layout_pair(text).value())) << text;
}

TEST(RandomModel, Loads) {
  RandomModelShape shape;
  shape.layers = 2;
  std::string path;
  {
    const auto file = TemporaryFile::make(random_model(shape), ".gguf").value();
    path = file.path();
    const auto model = Model::load(path);
    ASSERT_TRUE(model) << model.error().message;
    EXPECT_EQ(model->info().q_heads, 32);
    EXPECT_EQ(model->info().kv_heads, 8);
    EXPECT_EQ(model->info().head_dim, 128);
    auto session = Session::create(*model, Plan::parse("q4_0").value(), {}).value();
    ASSERT_TRUE(session.prefill(model->encode("abc", true)));
    EXPECT_TRUE(session.step(session.sample()));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(Rival, AnswersLineByLine) {
  // Two answers at once: the second waits for its question.
  auto rival = Rival::start("read line; printf '{\"a\":1}\\n{\"a\":2}\\n'; read line").value();
  EXPECT_EQ(rival.ask({{"do", "x"}}).value()["a"], 1);
  EXPECT_EQ(rival.ask({{"do", "y"}}).value()["a"], 2);
  EXPECT_FALSE(rival.ask({{"do", "z"}}));
}

TEST(Bars, KnowWhichWay) {
  const Bar least{"a", 1, 0.75, 0.8}, most{"b", 1, 2, 2.5, true};
  EXPECT_TRUE(least.met());
  EXPECT_FALSE(most.met());
  AttentionRow row;
  row.head_dim = 128, row.gqa_ratio = 4, row.threads = 1, row.context = 16384;
  row.kv_bytes = 4 * last_level_cache_bytes();
  row.isa = kernels().name;
  row.fraction_of_read.median = 0.5;
  const AttentionRow rows[] = {row};
  ASSERT_EQ(attention_bars({rows, rows + 1}).size(), 1u);
  EXPECT_FALSE(attention_bars({rows, rows + 1})[0].met());
  row.ns.median = 10;
  AttentionRow narrow = row;
  narrow.isa = "avx2";
  narrow.ns.median = 26;
  if (row.isa.starts_with("avx512")) {
    const auto bars = attention_bars({row, narrow});
    ASSERT_EQ(bars.size(), 2u);  // the narrow row has one bar, its time
    EXPECT_EQ(bars[1].measured, 2.6);
    EXPECT_FALSE(bars[1].met());
  }
  row.kv_bytes -= 1;  // it might come from the cache
  EXPECT_TRUE(attention_bars({row}).empty());
}

}  // namespace
}  // namespace kvkeep::bench
