// The reference of task kld: its divergence worked out by hand, its file taken apart.
#include "eval/predictions.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <utility>

#include "eval/eval_fixture.h"
#include "eval/nll.h"

namespace kvkeep {
namespace {

std::string temporary(const std::string& name) {
  return testing::TempDir() + "kvkeep_" + std::to_string(::getpid()) + "_" + name;
}

void write(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

const float kLog3 = std::log(3.0f);

TEST(Predictions, KeepTheLikeliestAndTheRest) {
  Predictions all;
  all.add(std::vector<float>{0, kLog3, 0, -20});  // 1/5, 3/5, 1/5, next to nothing
  const auto row = all.row(0);
  ASSERT_EQ(row.likely.size(), 3u);
  EXPECT_EQ(row.likely[0].token, 1);
  EXPECT_NEAR(row.likely[0].log_p, std::log(0.6), 1e-6);
  EXPECT_EQ(row.likely[1].token, 0);
  EXPECT_EQ(row.likely[2].token, 2);
  EXPECT_NEAR(row.rest, std::exp(-20) / 5, 1e-7);
}

TEST(Predictions, DivergenceOfTwoDistributions) {
  Predictions all;
  all.add(std::vector<float>{1, 1});
  const std::vector<float> other = {kLog3, 0};  // 3/4, 1/4
  EXPECT_NEAR(all.divergence(0, other), std::log(4.0 / 3) / 2, 1e-6);
  EXPECT_EQ(all.divergence(0, std::vector<float>{1, 1}), 0);
}

// Near the whole divergence, and never above it, where a tail is left out.
TEST(Predictions, DivergenceIsNearlyThatOfAllTokens) {
  std::vector<float> p, q;
  for (int i = 0; i < 5000; ++i) {
    p.push_back(-0.02f * static_cast<float>(i));
    q.push_back(p.back() + 0.3f * std::sin(static_cast<float>(i)));
  }
  Predictions all;
  all.add(p);
  EXPECT_LT(all.row(0).likely.size(), 1000u);
  const double whole = kl_divergence(p, q), kept = all.divergence(0, q);
  EXPECT_LE(kept, whole + 1e-7);
  EXPECT_NEAR(kept, whole, 2e-3 * whole);
}

struct Saved {
  std::string path = temporary("ref"), bytes;
  PredictionsKey key{7, 8, 128, 32, 0, 4};

  Saved() {
    std::vector<Predictions> windows(2);
    windows[0].add(std::vector<float>{0, kLog3, 0, -20});
    windows[1].add(std::vector<float>{1, 1, 1, 1});
    EXPECT_TRUE(save_predictions(path, key, windows));
    bytes = read_file(path).value();
  }
  ~Saved() { std::remove(path.c_str()); }
};

TEST(PredictionsFile, GivesBackWhatWasSaved) {
  const Saved saved;
  const auto windows = load_predictions(saved.path, saved.key).value();
  ASSERT_EQ(windows.size(), 2u);
  EXPECT_EQ(windows[0].row(0).likely[0].token, 1);
  EXPECT_EQ(windows[1].divergence(0, std::vector<float>{1, 1, 1, 1}), 0);
  EXPECT_FALSE(save_predictions("/nonexistent/folder/file", saved.key, windows));
}

TEST(PredictionsFile, RefusesOtherModelsTextsAndProtocols) {
  const Saved saved;
  auto model = saved.key, text = saved.key, step = saved.key;
  model.model = 1;
  text.text = 1;
  step.step = 16;
  const auto refusal = [&](const PredictionsKey& key) {
    return load_predictions(saved.path, key).error().message;
  };
  EXPECT_NE(refusal(model).find("another model"), std::string::npos);
  EXPECT_NE(refusal(text).find("another text"), std::string::npos);
  EXPECT_NE(refusal(step).find("--step 32"), std::string::npos);
}

TEST(PredictionsFile, RefusesEveryTruncationAndFlippedBit) {
  const Saved saved;
  for (size_t n = 0; n < saved.bytes.size(); ++n) {
    write(saved.path, saved.bytes.substr(0, n));
    EXPECT_FALSE(load_predictions(saved.path, saved.key)) << n;
    std::string flipped = saved.bytes;
    flipped[n] = static_cast<char>(flipped[n] ^ 1);
    write(saved.path, flipped);
    EXPECT_FALSE(load_predictions(saved.path, saved.key)) << n;
  }
}

TEST(Kld, FromAFileIsThatOfOneRun) {
  const auto plans = plans_of({"rtn2"});
  auto in = eval_input(plans, 128, 2);
  const auto whole = run_task("kld", in);
  in.options.kld_save = temporary("kld");
  const auto saving = run_task("kld", in);
  in.options.kld_ref = std::exchange(in.options.kld_save, "");
  const auto loaded = run_task("kld", in);
  for (const char* name : {"mean", "p99", "top1_agreement"}) {
    EXPECT_EQ(metric(saving.rows[0], name), metric(whole.rows[0], name));
    EXPECT_EQ(metric(loaded.rows[0], name), metric(whole.rows[0], name));
  }
  std::remove(in.options.kld_ref.c_str());
}

}  // namespace
}  // namespace kvkeep
