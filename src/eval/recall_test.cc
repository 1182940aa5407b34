// The prompts byte for byte, the answers of the exact cache, the interval's known cases.
#include <gtest/gtest.h>

#include <cmath>

#include "eval/passkey.h"
#include "eval/record.h"

namespace kvkeep {
namespace {

const Model& model() {
  static const Model loaded =
      Model::load(std::string(KVKEEP_SOURCE_DIR) + "/models/kvkeep-5m-f16.gguf").value();
  return loaded;
}

TaskInput input(const std::vector<Plan>& plans, int context, int samples) {
  TaskOptions options;
  options.context = context;
  options.samples = samples;
  return {model(), plans, {}, options, {}};
}

std::vector<Plan> plans_of(const std::vector<std::string>& names) {
  std::vector<Plan> plans;
  for (const auto& name : names) plans.push_back(Plan::parse(name).value());
  return plans;
}

TaskResult run(const std::string& task, const TaskInput& in) {
  return find_task(task).value()->run(in).value();
}

TEST(Lines, PromptIsTheOneTheModelKnows) {
  const auto& style = lines_style();
  EXPECT_EQ(style.head, "Below is a record of lines to remember.\n");
  EXPECT_EQ(style.entry("old-dog", "12345"), "line old-dog: REGISTER_CONTENT is <12345>\n");
  EXPECT_EQ(style.ask("old-dog"),
            "What is the REGISTER_CONTENT in line old-dog? The REGISTER_CONTENT in line old-dog "
            "is <");
}

TEST(KvRecall, PromptIsTheOneTheModelKnows) {
  const auto& style = dictionary_style();
  EXPECT_EQ(style.head, "Dictionary:\n");
  EXPECT_EQ(style.entry("dog", "1234"), "dog: 1234\n");
  EXPECT_EQ(style.ask("dog"), "Question: dog\nAnswer:");
}

TEST(Passkey, PromptIsTheOneTheModelKnows) {
  const auto sample = passkey_sample("12345", 0.5, 2);
  EXPECT_EQ(sample.context,
            "There is important information hidden inside this text. Find it and remember it.\n"
            "The grass is green. The pass key is <12345>. Remember it. <12345> is the pass key. "
            "The sky is blue.");
  ASSERT_EQ(sample.questions.size(), 1u);
  EXPECT_EQ(sample.questions[0].ask, "\nWhat is the pass key? The pass key is <");
  EXPECT_EQ(sample.questions[0].answer, "12345");
  EXPECT_EQ(sample.group, "depth_0.5");
}

TEST(Record, FillsTheContextAndAsksForDifferentEntries) {
  const auto plans = plans_of({"f16"});
  const auto in = input(plans, 600, 1);
  for (const RecordStyle* style : {&lines_style(), &dictionary_style()}) {
    const auto sample = make_record(in, *style, 3).value();
    EXPECT_LE(recall_tokens(model(), sample), 600);
    EXPECT_GT(recall_tokens(model(), sample), 560);
    ASSERT_EQ(sample.questions.size(), 5u);
    for (size_t i = 0; i < 5; ++i)
      for (size_t j = 0; j < i; ++j) EXPECT_NE(sample.questions[i].ask, sample.questions[j].ask);
    EXPECT_EQ(make_record(in, *style, 3).value().context, sample.context);
    EXPECT_NE(make_record(in, *style, 4).value().context, sample.context);
  }
  EXPECT_FALSE(make_record(input(plans, 100, 1), lines_style(), 0));
}

TEST(Passkey, FillsTheContext) {
  const auto plans = plans_of({"f16"});
  for (int i = 0; i < 5; ++i) {
    const auto sample = make_passkey(input(plans, 500, 1), i).value();
    EXPECT_LE(recall_tokens(model(), sample), 500);
    EXPECT_GT(recall_tokens(model(), sample), 480);
  }
  EXPECT_FALSE(make_passkey(input(plans, 40, 1), 0));
}

TEST(Recall, OfTheExactCacheIsRight) {
  const auto plans = plans_of({"f16"});
  for (const std::string task : {"lines", "kv_recall", "passkey"}) {
    const auto result = run(task, input(plans, task == "lines" ? 450 : 300, 2));
    ASSERT_EQ(result.rows.size(), 1u);
    const auto& row = result.rows[0];
    EXPECT_EQ(row.metrics[0].name, "accuracy");
    EXPECT_GE(row.metrics[0].value, 0.9) << task;
    EXPECT_EQ(row.metrics[1].name, "n");
    EXPECT_EQ(row.metrics[1].value, task == "passkey" ? 2 : 10);
    EXPECT_EQ(row.samples, 2);
    EXPECT_TRUE(row.protocol.bos);
  }
}

TEST(Recall, OfAnEvictedRecordIsNot) {
  const auto plans = plans_of({"f16", "streaming:keep=0.1"});
  const auto result = run("lines", input(plans, 450, 2));
  ASSERT_EQ(result.rows.size(), 2u);
  EXPECT_LT(result.rows[1].metrics[0].value, 0.5);
}

TEST(Recall, StopsWithWhatIsCompleteForEveryPlan) {
  const auto plans = plans_of({"f16", "rtn2"});
  auto in = input(plans, 300, 3);
  in.progress = [](double done, double total) { return done < 0.6 * total; };
  const auto result = run("passkey", in);
  EXPECT_TRUE(result.interrupted);
  ASSERT_EQ(result.rows.size(), 2u);
  for (const auto& row : result.rows) EXPECT_EQ(row.metrics[1].value, 1) << row.cache.preset;
}

TEST(Recall, IntervalOfAccuracy) {
  const std::vector<Tally> right(20, {5, 5, ""}), wrong(20, {0, 5, ""});
  EXPECT_EQ(accuracy_interval(right, 0), std::pair(1.0, 1.0));
  EXPECT_EQ(accuracy_interval(wrong, 0), std::pair(0.0, 0.0));
  std::vector<Tally> half(50, {1, 1, ""});
  half.insert(half.end(), 50, {0, 1, ""});
  EXPECT_EQ(accuracy(half), 0.5);
  const auto [low, high] = accuracy_interval(half, 0);  // 0.5 -+ 1.96 * sqrt(0.25 / 100)
  EXPECT_NEAR(low, 0.402, 0.021);
  EXPECT_NEAR(high, 0.598, 0.021);
}

}  // namespace
}  // namespace kvkeep
