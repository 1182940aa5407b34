// The perplexity protocol against an independent computation, on the embedded model.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "eval/eval_fixture.h"
#include "eval/hidden_fact.h"
#include "eval/inspect.h"
#include "eval/nll.h"
#include "eval/part_of.h"
#include "eval/task.h"
#include "kvkeep/session.h"

namespace kvkeep {
namespace {

const std::string kModel = std::string(KVKEEP_SOURCE_DIR) + "/models/kvkeep-5m-f16.gguf";

// Mean surprise of the last three quarters of each window, from one exact pass over the window.
double exact_nll(int context, int windows) {
  const auto tokens = first_tokens(embedded_model(), embedded_passage(), context * windows);
  double sum = 0;
  int count = 0;
  for (int w = 0; w < windows; ++w) {
    const auto window =
        std::span(tokens).subspan(static_cast<size_t>(w * context), static_cast<size_t>(context));
    auto session = Session::create(embedded_model(), Plan::parse("f16").value(), {}).value();
    std::vector<float> logits;
    EXPECT_TRUE(session.feed(window, &logits));
    const size_t vocab = logits.size() / window.size();
    for (size_t i = window.size() / 4; i < window.size(); ++i, ++count) {
      long double all = 0;
      for (size_t v = 0; v < vocab; ++v) all += std::exp((long double)logits[(i - 1) * vocab + v]);
      const auto hit = logits[(i - 1) * vocab + static_cast<size_t>(window[i])];
      sum += static_cast<double>(std::log(all) - hit);
    }
  }
  return sum / count;
}

TEST(Nll, IsTheLogarithmOfTheSoftmax) {
  const float logits[] = {1000, 1000, -1000};
  EXPECT_NEAR(token_nll(logits, 0), std::log(2.0), 1e-12);
  EXPECT_NEAR(token_nll(logits, 2), 2000 + std::log(2.0), 1e-9);
}

TEST(Nll, DivergenceOfTwoDistributions) {
  const float p[] = {1, 1}, q[] = {std::log(3.0f), 0};  // 1/2, 1/2 and 3/4, 1/4
  EXPECT_NEAR(kl_divergence(p, q), std::log(4.0 / 3) / 2, 1e-7);
  EXPECT_EQ(kl_divergence(q, q), 0);
}

TEST(Ppl, OfTheExactCacheIsThatOfOnePass) {
  const std::vector<Plan> plans = {Plan::parse("f16").value()};
  const auto result = find_task("ppl").value()->run(eval_input(plans, 128, 2)).value();
  ASSERT_EQ(result.rows.size(), 1u);
  const auto& row = result.rows[0];
  const double nll = metric(row, "nll");
  EXPECT_NEAR(nll, exact_nll(128, 2), 1e-3);
  EXPECT_NEAR(metric(row, "ppl"), std::exp(nll), 1e-9);
  ASSERT_EQ(row.units.size(), 2u);  // one stretch a window, as long as each other
  EXPECT_NEAR((row.units[0] + row.units[1]) / 2, metric(row, "nll"), 1e-6);
  EXPECT_EQ(row.metrics[0].interval->first, std::exp(std::min(row.units[0], row.units[1])));
  EXPECT_EQ(row.metrics[1].vs_f16, std::pair(0.0, 0.0));
  EXPECT_EQ(metric(row, "tokens"), 2 * 96);
  EXPECT_EQ(row.windows, 2);
  EXPECT_EQ(row.cache.tokens, 128);
  EXPECT_EQ(row.cache.preset, "f16");
}

TEST(Ppl, OfTheExactCacheDoesNotDependOnTheStep) {
  const std::vector<Plan> plans = {Plan::parse("f16").value()};
  auto in = eval_input(plans, 100, 1);
  in.options.step = 7;
  const auto small = find_task("ppl").value()->run(in).value();
  in.options.step = 1000;
  const auto large = find_task("ppl").value()->run(in).value();
  EXPECT_NEAR(metric(small.rows[0], "nll"), metric(large.rows[0], "nll"), 1e-3);
}

TEST(Ppl, StopsWithWhatIsCompleteForEveryPlan) {
  const std::vector<Plan> plans = {Plan::parse("f16").value(), Plan::parse("rtn2").value()};
  auto in = eval_input(plans, 64, 3);
  in.progress = [](double done, double total) { return done < 0.6 * total; };
  const auto result = find_task("ppl").value()->run(in).value();
  EXPECT_TRUE(result.interrupted);
  ASSERT_EQ(result.rows.size(), 2u);
  for (const auto& row : result.rows) EXPECT_EQ(metric(row, "tokens"), 48) << row.cache.preset;
}

TEST(Ppl, RefusesWhatCannotFillAWindow) {
  const std::vector<Plan> plans = {Plan::parse("f16").value()};
  auto text = eval_input(plans, 64, 1), limit = eval_input(plans, 64, 1);
  text.text = "too short";
  limit.options.limit = 63;
  for (const auto& in : {text, limit})
    EXPECT_EQ(find_task("ppl").value()->run(in).error().code, ErrorCode::bad_input);
}

TEST(Kld, OfTheExactCacheIsZeroAndOfACoarseOneIsNot) {
  const std::vector<Plan> plans = {Plan::parse("f16").value(), Plan::parse("rtn2").value()};
  const auto result = find_task("kld").value()->run(eval_input(plans, 128, 2)).value();
  ASSERT_EQ(result.rows.size(), 2u);
  EXPECT_EQ(metric(result.rows[0], "mean"), 0);
  EXPECT_EQ(metric(result.rows[0], "p99"), 0);
  EXPECT_EQ(metric(result.rows[0], "top1_agreement"), 1);
  EXPECT_EQ(metric(result.rows[0], "top1_changed"), 0);
  EXPECT_GT(metric(result.rows[1], "mean"), 0.001);
  EXPECT_GT(metric(result.rows[1], "p99"), metric(result.rows[1], "mean"));
  EXPECT_LT(metric(result.rows[1], "top1_agreement"), 1);
  for (const auto& row : result.rows) EXPECT_EQ(metric(row, "tokens"), 2 * 96);
  // Less than 512 tokens are one stretch: the mean of two lies between them.
  const std::vector<double>& units = result.rows[1].units;
  ASSERT_EQ(units.size(), 2u);
  EXPECT_NEAR((units[0] + units[1]) / 2, metric(result.rows[1], "mean"), 1e-9);
  const auto [low, high] = result.rows[1].metrics[0].interval.value();
  EXPECT_EQ(low, std::min(units[0], units[1]));
  EXPECT_EQ(high, std::max(units[0], units[1]));
}

TEST(Kld, StopsWithWhatIsCompleteForEveryPlan) {
  const std::vector<Plan> plans = {Plan::parse("f16").value(), Plan::parse("rtn2").value()};
  auto in = eval_input(plans, 64, 3);
  in.progress = [](double done, double total) { return done < 0.6 * total; };
  const auto result = find_task("kld").value()->run(in).value();
  EXPECT_TRUE(result.interrupted);
  ASSERT_EQ(result.rows.size(), 2u);
  for (const auto& row : result.rows) EXPECT_EQ(metric(row, "tokens"), 48) << row.cache.preset;
}

TEST(Tasks, UnknownNameListsTheAllowedOnes) {
  EXPECT_NE(find_task("nosuch").error().message.find("ppl"), std::string::npos);
}

TEST(Tasks, FirstTokensAreThoseOfTheWholeText) {
  const auto all = embedded_model().encode(embedded_passage().substr(0, 30000), false);
  const auto first = first_tokens(embedded_model(), embedded_passage(), 500);
  ASSERT_EQ(first.size(), 500u);
  EXPECT_TRUE(std::equal(first.begin(), first.end(), all.begin()));
  EXPECT_EQ(first_tokens(embedded_model(), "short", 500), embedded_model().encode("short", false));
}

TEST(HiddenFact, StandsWhereItShouldInAPassageOfTheRightLength) {
  size_t offset = 0;
  const auto fact = hide_fact(embedded_model(), embedded_passage(), &offset, 0.5, 600, 1).value();
  EXPECT_EQ(fact.passage.size(), 600u);
  EXPECT_EQ(fact.answer.size(), 5u);
  const std::string text = embedded_model().decode(fact.passage);
  const auto place = static_cast<double>(text.find(fact.fact));
  EXPECT_NEAR(place / static_cast<double>(text.size()), 0.5, 0.2);
  const size_t first_end = offset;
  const auto other = hide_fact(embedded_model(), embedded_passage(), &offset, 0.5, 600, 2).value();
  EXPECT_GT(offset, first_end);
  EXPECT_NE(other.answer, fact.answer);
  EXPECT_FALSE(hide_fact(embedded_model(), "A. b. c.", &offset, 0.5, 600, 1));
}

TEST(HiddenFact, IsFoundInTheExactCache) {
  size_t offset = 0;
  const auto fact = hide_fact(embedded_model(), embedded_passage(), &offset, 0.3, 400, 3).value();
  const auto answer = ask_fact(embedded_model(), Plan::parse("f16").value(), fact, 0).value();
  EXPECT_TRUE(answer.right) << answer.text << " instead of " << fact.answer;
  EXPECT_GT(answer.steps, 0);
}

TEST(Inspect, SaysWhatTheEmbeddedModelHolds) {
  const auto report = inspect_gguf(kModel, true).value();
  EXPECT_EQ(report.at("architecture"), "llama");
  EXPECT_EQ(report.at("config").at("layers"), embedded_model().info().layers);
  EXPECT_EQ(report.at("config").at("head_dim"), embedded_model().info().head_dim);
  EXPECT_EQ(report.at("tokenizer").at("vocab"), embedded_model().info().vocab);
  EXPECT_EQ(report.at("f16_cache").at("bytes_per_token"), 4 * 6 * 2 * 64);
  EXPECT_GT(report.at("tensors").size(), 50u);
  EXPECT_NE(inspect_text(report).find("llama"), std::string::npos);
  EXPECT_EQ(inspect_gguf("/nonexistent", false).error().code, ErrorCode::bad_input);
}

}  // namespace
}  // namespace kvkeep
