// Fitting predictors to a small random model: what the file depends on, and what is refused.
#include "engine/calibrate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "engine/find_calibration.h"
#include "model/dense_attention.h"
#include "model/transformer.h"

namespace kvkeep {
namespace {

constexpr int kTokens = 24, kSkipped = 4;
constexpr ptrdiff_t kWidth = 48;  // of a row: 2 kv_heads of 24

// Two layers.
const Model& small() {
  static const Model model = *Model::load(KVKEEP_SOURCE_DIR "/tests/golden/qwen3.gguf");
  return model;
}

std::vector<std::vector<int32_t>> windows(int n, int tokens = kTokens) {
  Rng rng(5);
  std::vector<std::vector<int32_t>> made(static_cast<size_t>(n));
  for (auto& window : made)
    for (int i = 0; i < tokens; ++i) window.push_back(static_cast<int32_t>(rng.below(256)));
  return made;
}

Result<Calibration> fit(const std::string& text, std::vector<std::vector<int32_t>> read,
                        int threads = 1, size_t most_bytes = size_t{1} << 30,
                        const ProgressFn& progress = {}) {
  const Plan plan = *Plan::parse(text);
  return calibrate({small(), plan, std::move(read), threads, most_bytes}, progress);
}

TEST(Calibrate, SameBytesForAnyNumberOfThreadsAndRowsHeldAtOnce) {
  for (const char* plan : {"aqua2", "keep1", "aqua3:predictor=v_from_k:rank=8,predictor.bits=4",
                           "aqua2:predictor=cross_layer:form=per_head", "aqua2:predictor=mean"}) {
    const auto all = fit(plan, windows(18));
    ASSERT_TRUE(all) << all.error().message;
    const std::string bytes = all->bytes();
    EXPECT_EQ(fit(plan, windows(18), 2)->bytes(), bytes) << plan << ", two threads";
    EXPECT_EQ(fit(plan, windows(18), 2, 1)->bytes(), bytes) << plan << ", a layer at a time";
    auto other = windows(18);
    other[0][10] ^= 1;
    EXPECT_NE(fit(plan, other)->bytes(), bytes) << plan << ", another text";
  }
}

// Windows 14 and 15 of sixteen are held out: what they say changes no map.
TEST(Calibrate, MapsAreFittedToAllWindowsButThoseHeldOut) {
  const auto made = *fit("aqua2", windows(18));
  EXPECT_EQ(made.tokens, 16 * (kTokens - kSkipped));
  EXPECT_EQ(made.key(), calibration_key(small(), *Plan::parse("aqua2")));
  for (const size_t held : {14, 15}) {
    auto read = windows(18);
    for (int32_t& token : read[held]) token = 255 - token;
    const auto other = *fit("aqua2", read);
    bool figures = true;
    for (int layer = 0; layer < 2; ++layer)
      for (const Side side : {Side::key, Side::value}) {
        EXPECT_EQ(other.map(layer, side).stored(), made.map(layer, side).stored());
        figures &= other.explained(layer, side).residual == made.explained(layer, side).residual;
      }
    EXPECT_FALSE(figures) << "they are what the figures are about";
  }
}

// What lies at 1 bit instead of 4 is what layer 1 and this layer's values are then predicted from.
TEST(Calibrate, MapsAreFittedToRowsAsTheyAreDecoded) {
  const auto fine = *fit("aqua2", windows(16)), coarse = *fit("aqua2:low.first=p1n2", windows(16));
  const auto same = [&](int layer, Side side) {
    return fine.map(layer, side).stored() == coarse.map(layer, side).stored();
  };
  EXPECT_TRUE(same(0, Side::key)) << "nothing is below it";
  EXPECT_FALSE(same(0, Side::value));
  EXPECT_FALSE(same(1, Side::key));
  EXPECT_FALSE(same(1, Side::value));
  for (const char* plan : {"aqua2:low.scale=norm", "aqua2:low.rows=64,low.fine=0.3"})
    EXPECT_EQ(fit(plan, windows(16))->bytes(), fine.bytes()) << "one file serves all these";
}

// Values of each layer as exact attention meets them.
class Values : public AttentionSite {
 public:
  explicit Values(const AttentionShape& shape) : exact_(shape) {}

  Result<void> attend(const AttentionCall& call) override {
    auto& rows = of[call.layer];
    rows.insert(rows.end(), call.v + kSkipped * kWidth, call.v + call.tokens * kWidth);
    return exact_.attend(call);
  }

  std::vector<float> of[2];

 private:
  DenseAttention exact_;
};

TEST(Calibrate, WithoutSourcesAMapIsTheMeanOfWhatTheModelMakes) {
  const auto made = *fit("aqua2:predictor=mean", windows(16));
  const Transformer& model = *small().transformer();
  const auto scratch = model.make_scratch();
  ThreadPool pool(1);
  std::vector<double> sums[2] = {std::vector<double>(kWidth), std::vector<double>(kWidth)};
  for (const auto& window : windows(14)) {  // the last two are held out
    Values values(model.config().attention_shape());
    ASSERT_TRUE(model.forward(window, 0, values, pool, *scratch, nullptr, false));
    for (size_t layer = 0; layer < 2; ++layer)
      for (size_t i = 0; i < values.of[layer].size(); ++i)
        sums[layer][i % size_t{kWidth}] += values.of[layer][i];
  }
  for (size_t layer = 0; layer < 2; ++layer) {
    const AffineMap& map = made.map(static_cast<int>(layer), Side::value);
    std::vector<float> mean(kWidth);
    map.apply({}, {}, 1, mean.data());
    for (size_t c = 0; c < size_t{kWidth}; ++c) {
      const double expected = sums[layer][c] / (14 * (kTokens - kSkipped));
      EXPECT_NEAR(mean[c], expected, 2e-3 * std::max(1.0, std::fabs(expected)));
    }
  }
}

TEST(Calibrate, StopsWhenItsProgressSaysSo) {
  for (const size_t most : {size_t{1}, size_t{1} << 30}) {
    std::vector<double> told;
    EXPECT_TRUE(fit("aqua2", windows(16), 1, most, [&](double done, double all) {
      told.push_back(done / all);
      return true;
    }));
    EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
    ASSERT_EQ(told.size(), most == 1 ? 32u : 16u) << "each window, once a layer held alone";
    EXPECT_DOUBLE_EQ(told.back(), 1.0);
    for (const size_t last : {size_t{1}, told.size()}) {
      size_t calls = 0;
      const auto stopped =
          fit("aqua2", windows(16), 1, most, [&](double, double) { return ++calls < last; });
      ASSERT_FALSE(stopped);
      EXPECT_EQ(stopped.error().code, ErrorCode::cancelled);
      EXPECT_EQ(calls, last);
    }
  }
}

TEST(Calibrate, RefusesTooLittleTextAndPlansThatNeedNone) {
  const auto refusal = [](const char* plan, std::vector<std::vector<int32_t>> read) {
    const auto refused = fit(plan, std::move(read));
    EXPECT_FALSE(refused) << plan;
    if (refused) return std::string();
    EXPECT_EQ(refused.error().code, ErrorCode::bad_input);
    return refused.error().message;
  };
  EXPECT_EQ(refusal("aqua2", windows(15)),
            "calibration needs at least 16 windows of text, found 15");
  auto shorter = windows(16, 8);
  EXPECT_TRUE(fit("aqua2", shorter));
  shorter[9].pop_back();
  EXPECT_EQ(refusal("aqua2", shorter), "calibration needs windows of at least 8 tokens, found 7");
  for (const std::string plan : {"mikv", "aqua2:predictor=none",
                                 "keep1:predictor=crush:base=none,"
                                 "low.v=p4n16"})
    EXPECT_EQ(
        refusal(plan.c_str(), windows(16)),
        "plan '" + plan + "' needs no calibration; allowed: plans of chunks with a predictor");
}

}  // namespace
}  // namespace kvkeep
