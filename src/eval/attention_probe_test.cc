// Errors of attention outputs that can be worked out by hand.
#include "eval/attention_probe.h"

#include "base/thread_pool.h"
#include "eval/eval_fixture.h"

namespace kvkeep {
namespace {

constexpr int kDim = 32;
const AttentionShape kShape{1, 2, 1, kDim};

struct Probe {
  ThreadPool pool{1};
  std::unique_ptr<AttentionProbe> probe;
  std::vector<float> out = std::vector<float>(2 * kDim);
  int tokens = 0;

  explicit Probe(const std::string& plan) {
    AttentionProbe::Sites sites;
    sites.push_back(
        CompressedAttention::make(Plan::parse(plan).value(), kShape, rope_of(), 64, &pool).value());
    probe = std::make_unique<AttentionProbe>(kShape, std::move(sites));
  }
  static RopeConfig rope_of() {
    RopeConfig rope;
    rope.dim = kDim;
    return rope;
  }
  // All keys are alike, so attention is the mean of the values it sees.
  void read(float value) {
    const std::vector<float> q(2 * kDim, 0.0f), k(kDim, 0.0f), v(kDim, value);
    ASSERT_TRUE(probe->attend({0, 1, tokens++, q.data(), k.data(), v.data(), out.data()}));
  }
};

TEST(AttentionProbe, MeasuresWhatWasEvicted) {
  Probe all("scorer=recency;budget=uniform:keep=0.25,recent=1,demote=1;low=drop");
  for (const float value : {0.0f, 1.0f, 2.0f, 3.0f}) all.read(value);
  all.probe->sites()[0]->demote(true);  // one of four stays, the newest
  all.probe->score(true);
  all.read(4);  // (3 + 4) / 2 instead of (0 + 1 + 2 + 3 + 4) / 5
  EXPECT_FLOAT_EQ(all.out[0], 2);
  EXPECT_NEAR(all.probe->error(0, 0, 0).relative(), 0.75, 1e-6);
  EXPECT_NEAR(all.probe->error(0, 0, 0).exact, 2 * kDim * 4.0, 1e-3);
}

TEST(AttentionProbe, OfTheExactCacheIsZero) {
  Probe all("f16");
  all.probe->score(true);
  for (const float value : {0.0f, 1.0f, 2.0f}) all.read(value);
  EXPECT_NEAR(all.probe->error(0, 0, 0).relative(), 0, 1e-6);
}

TEST(AttentionError, TellsLayersAndHeadsApart) {
  const auto plans = plans_of({"f16", "rtn4", "rtn2"});
  const auto result = run_task("attention_error", eval_input(plans, 128, 1));
  ASSERT_EQ(result.rows.size(), 3u);
  const auto& info = embedded_model().info();
  for (const auto& row : result.rows) {
    ASSERT_EQ(row.cells.size(), static_cast<size_t>(info.layers * info.kv_heads));
    double sum = 0;
    for (const auto& cell : row.cells) sum += cell.value;
    EXPECT_NEAR(metric(row, "mean"), sum / static_cast<double>(row.cells.size()), 1e-12);
    EXPECT_EQ(metric(row, "tokens"), 96);
    EXPECT_EQ(row.cache.tokens, 128);
  }
  // What rounding to f16 leaves: 2^-11 of a key, times logits of up to a few.
  EXPECT_LT(metric(result.rows[0], "worst"), 2e-3);
  EXPECT_LT(metric(result.rows[1], "mean"), 0.3 * metric(result.rows[2], "mean"));
}

}  // namespace
}  // namespace kvkeep
