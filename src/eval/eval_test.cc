// The perplexity protocol against an independent computation, on the embedded model.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "eval/hidden_fact.h"
#include "eval/inspect.h"
#include "eval/measure.h"
#include "eval/nll.h"
#include "eval/part_of.h"
#include "eval/task.h"
#include "kvkeep/session.h"

namespace kvkeep {
namespace {

const std::string kModel = std::string(KVKEEP_SOURCE_DIR) + "/models/kvkeep-5m-f16.gguf";

const Model& model() {
  static const Model loaded = Model::load(kModel).value();
  return loaded;
}

const std::string& passage() {
  static const std::string text =
      read_file(std::string(KVKEEP_SOURCE_DIR) + "/src/eval/data/passage.txt").value();
  return text;
}

TaskInput input(const std::vector<Plan>& plans, int context, int windows) {
  TaskOptions options;
  options.context = context;
  options.limit = context * windows;
  return {model(), plans, passage(), options, {}};
}

// Mean surprise of the last three quarters of each window, from one exact pass over the window.
double exact_nll(int context, int windows) {
  const auto tokens = first_tokens(model(), passage(), context * windows);
  double sum = 0;
  int count = 0;
  for (int w = 0; w < windows; ++w) {
    const auto window =
        std::span(tokens).subspan(static_cast<size_t>(w * context), static_cast<size_t>(context));
    auto session = Session::create(model(), Plan::parse("f16").value(), {}).value();
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

double metric(const EvalRow& row, const std::string& name) {
  for (const auto& m : row.metrics)
    if (m.name == name) return m.value;
  ADD_FAILURE() << "no metric " << name;
  return NAN;
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
  const auto result = find_task("ppl").value()->run(input(plans, 128, 2)).value();
  ASSERT_EQ(result.rows.size(), 1u);
  const auto& row = result.rows[0];
  const double nll = metric(row, "nll");
  EXPECT_NEAR(nll, exact_nll(128, 2), 1e-3);
  EXPECT_NEAR(metric(row, "ppl"), std::exp(nll), 1e-9);
  EXPECT_EQ(metric(row, "tokens"), 2 * 96);
  EXPECT_EQ(row.windows, 2);
  EXPECT_EQ(row.cache.tokens, 128);
  EXPECT_EQ(row.cache.preset, "f16");
}

TEST(Ppl, OfTheExactCacheDoesNotDependOnTheStep) {
  const std::vector<Plan> plans = {Plan::parse("f16").value()};
  auto in = input(plans, 100, 1);
  in.options.step = 7;
  const auto small = find_task("ppl").value()->run(in).value();
  in.options.step = 1000;
  const auto large = find_task("ppl").value()->run(in).value();
  EXPECT_NEAR(metric(small.rows[0], "nll"), metric(large.rows[0], "nll"), 1e-3);
}

TEST(Ppl, StopsWithWhatIsCompleteForEveryPlan) {
  const std::vector<Plan> plans = {Plan::parse("f16").value(), Plan::parse("rtn2").value()};
  auto in = input(plans, 64, 3);
  in.progress = [](double done, double total) { return done < 0.6 * total; };
  const auto result = find_task("ppl").value()->run(in).value();
  EXPECT_TRUE(result.interrupted);
  ASSERT_EQ(result.rows.size(), 2u);
  for (const auto& row : result.rows) EXPECT_EQ(metric(row, "tokens"), 48) << row.cache.preset;
}

TEST(Ppl, RefusesWhatCannotFillAWindow) {
  const std::vector<Plan> plans = {Plan::parse("f16").value()};
  auto text = input(plans, 64, 1), limit = input(plans, 64, 1);
  text.text = "too short";
  limit.options.limit = 63;
  for (const auto& in : {text, limit})
    EXPECT_EQ(find_task("ppl").value()->run(in).error().code, ErrorCode::bad_input);
}

TEST(Kld, OfTheExactCacheIsZeroAndOfACoarseOneIsNot) {
  const std::vector<Plan> plans = {Plan::parse("f16").value(), Plan::parse("rtn2").value()};
  const auto result = find_task("kld").value()->run(input(plans, 128, 2)).value();
  ASSERT_EQ(result.rows.size(), 2u);
  EXPECT_EQ(metric(result.rows[0], "mean"), 0);
  EXPECT_EQ(metric(result.rows[0], "p99"), 0);
  EXPECT_EQ(metric(result.rows[0], "top1_agreement"), 1);
  EXPECT_GT(metric(result.rows[1], "mean"), 0.001);
  EXPECT_GT(metric(result.rows[1], "p99"), metric(result.rows[1], "mean"));
  EXPECT_LT(metric(result.rows[1], "top1_agreement"), 1);
  for (const auto& row : result.rows) EXPECT_EQ(metric(row, "tokens"), 2 * 96);
}

TEST(Kld, StopsWithWhatIsCompleteForEveryPlan) {
  const std::vector<Plan> plans = {Plan::parse("f16").value(), Plan::parse("rtn2").value()};
  auto in = input(plans, 64, 3);
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
  const auto all = model().encode(passage().substr(0, 30000), false);
  const auto first = first_tokens(model(), passage(), 500);
  ASSERT_EQ(first.size(), 500u);
  EXPECT_TRUE(std::equal(first.begin(), first.end(), all.begin()));
  EXPECT_EQ(first_tokens(model(), "short", 500), model().encode("short", false));
}

TEST(HiddenFact, StandsWhereItShouldInAPassageOfTheRightLength) {
  size_t offset = 0;
  const auto fact = hide_fact(model(), passage(), &offset, 0.5, 600, 1).value();
  EXPECT_EQ(fact.passage.size(), 600u);
  EXPECT_EQ(fact.answer.size(), 5u);
  const std::string text = model().decode(fact.passage);
  const auto place = static_cast<double>(text.find(fact.fact));
  EXPECT_NEAR(place / static_cast<double>(text.size()), 0.5, 0.2);
  const size_t first_end = offset;
  const auto other = hide_fact(model(), passage(), &offset, 0.5, 600, 2).value();
  EXPECT_GT(offset, first_end);
  EXPECT_NE(other.answer, fact.answer);
  EXPECT_FALSE(hide_fact(model(), "A. b. c.", &offset, 0.5, 600, 1));
}

TEST(HiddenFact, IsFoundInTheExactCache) {
  size_t offset = 0;
  const auto fact = hide_fact(model(), passage(), &offset, 0.3, 400, 3).value();
  const auto answer = ask_fact(model(), Plan::parse("f16").value(), fact, 0).value();
  EXPECT_TRUE(answer.right) << answer.text << " instead of " << fact.answer;
  EXPECT_GT(answer.steps, 0);
}

TEST(Measure, FitsKeepToTheBytesAskedFor) {
  const auto tokens = random_tokens(model().info().vocab, 1024, 1);
  const MeasureBytes measure = [&](const Plan& plan, const ProgressFn&) {
    return measure_cache(model(), plan, tokens, 0).map([](const auto& r) { return r.bytes; });
  };
  const size_t target = measure(Plan::parse("f16").value(), {}).value() / 3;
  const auto plan = plan_of_bytes("h2o", target, measure).value();
  EXPECT_NEAR(static_cast<double>(measure(plan, {}).value()), static_cast<double>(target),
              0.1 * static_cast<double>(target));
}

TEST(Inspect, SaysWhatTheEmbeddedModelHolds) {
  const auto report = inspect_gguf(kModel, true).value();
  EXPECT_EQ(report.at("architecture"), "llama");
  EXPECT_EQ(report.at("config").at("layers"), model().info().layers);
  EXPECT_EQ(report.at("config").at("head_dim"), model().info().head_dim);
  EXPECT_EQ(report.at("tokenizer").at("vocab"), model().info().vocab);
  EXPECT_EQ(report.at("f16_cache").at("bytes_per_token"), 4 * 6 * 2 * 64);
  EXPECT_GT(report.at("tensors").size(), 50u);
  EXPECT_NE(inspect_text(report).find("llama"), std::string::npos);
  EXPECT_EQ(inspect_gguf("/nonexistent", false).error().code, ErrorCode::bad_input);
}

}  // namespace
}  // namespace kvkeep
