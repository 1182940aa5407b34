// The prompts byte for byte, the answers of the exact cache, the interval's known cases.
#include <gtest/gtest.h>

#include "eval/eval_fixture.h"
#include "eval/nll.h"
#include "eval/record.h"
#include "kvkeep/session.h"

namespace kvkeep {
namespace {

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

TEST(Record, FillsTheContextAndAsksForDifferentEntries) {
  const auto plans = plans_of({"f16"});
  const auto in = eval_input(plans, 600, 1);
  for (const RecordStyle* style : {&lines_style(), &dictionary_style()}) {
    const auto sample = make_record(in, *style, 3).value();
    EXPECT_LE(recall_tokens(embedded_model(), sample), 600);
    EXPECT_GT(recall_tokens(embedded_model(), sample), 560);
    ASSERT_EQ(sample.questions.size(), 5u);
    for (size_t i = 0; i < 5; ++i)
      for (size_t j = 0; j < i; ++j) EXPECT_NE(sample.questions[i].ask, sample.questions[j].ask);
    EXPECT_EQ(make_record(in, *style, 3).value().context, sample.context);
    EXPECT_NE(make_record(in, *style, 4).value().context, sample.context);
  }
  EXPECT_FALSE(make_record(eval_input(plans, 100, 1), lines_style(), 0));
}

TEST(Recall, OfTheExactCacheIsRight) {
  const auto plans = plans_of({"f16"});
  for (const std::string task : {"lines", "kv_recall", "passkey"}) {
    const auto result = run_task(task, eval_input(plans, task == "lines" ? 450 : 300, 2));
    ASSERT_EQ(result.rows.size(), 1u);
    const auto& row = result.rows[0];
    EXPECT_EQ(row.metrics[0].name, "accuracy");
    EXPECT_GE(row.metrics[0].value, 0.9) << task;
    EXPECT_EQ(row.metrics[1].name, "n");
    EXPECT_EQ(row.metrics[1].value, task == "passkey" ? 2 : 10);
    EXPECT_EQ(row.samples, 2);
    EXPECT_TRUE(row.protocol.bos);
    EXPECT_EQ(metric(row, "answer_in_high"), 1);
    EXPECT_EQ(row.metrics[0].vs_f16, Interval(0, 0));
  }
}

// -ln P of an answer, from the logits of one pass over record, question and answer.
double nll_by_hand(const std::string& record, const std::string& ask, const std::string& answer) {
  auto session = Session::create(embedded_model(), Plan::parse("f16").value(), {}).value();
  auto tokens = embedded_model().encode(record, true);
  for (const int32_t id : embedded_model().encode(ask, false)) tokens.push_back(id);
  const size_t begin = tokens.size();
  for (const int32_t id : embedded_model().encode(answer, false)) tokens.push_back(id);
  std::vector<float> logits;
  EXPECT_TRUE(session.feed(tokens, &logits));
  const auto vocab = static_cast<size_t>(embedded_model().info().vocab);
  double nll = 0;
  for (size_t i = begin; i < tokens.size(); ++i)
    nll += token_nll(std::span(logits).subspan((i - 1) * vocab, vocab), tokens[i]);
  return nll;
}

TEST(Recall, TellsHowLikelyTheRightAnswerWas) {
  for (const RecordStyle* style : {&lines_style(), &dictionary_style()}) {
    const std::string lead = style == &dictionary_style() ? " " : "";
    const std::string record =
        style->head + style->entry("old-dog", "12345") + style->entry("wet-hill", "67890");
    const auto plans = plans_of({"f16", "rtn2"});
    const auto rows_for = [&](const std::string& answer) {
      const auto make = [&](const TaskInput&, int) -> Result<RecallSample> {
        return RecallSample{record, {{style->ask("old-dog"), {answer}}}};
      };
      return run_recall(eval_input(plans, 300, 1),
                        {.name = "made-up", .end = '>', .make = make, .lead = lead})
          .value()
          .rows;
    };
    for (const std::string answer : {"12345", "12745"}) {  // the one it says, and another
      const auto rows = rows_for(answer);
      EXPECT_NEAR(metric(rows[0], "answer_nll"),
                  nll_by_hand(record, style->ask("old-dog"), lead + answer), 1e-3);
      EXPECT_EQ(rows[0].nll_units, std::vector<double>{metric(rows[0], "answer_nll")});
      EXPECT_NE(metric(rows[1], "answer_nll"), metric(rows[0], "answer_nll"));
    }
    EXPECT_GT(metric(rows_for("12745")[0], "answer_nll"),
              2 + metric(rows_for("12345")[0], "answer_nll"));
  }
}

// As one text would be cut, where question and answer meet at the end of a token.
TEST(Recall, AnswersAreCutAsTheyStandBehindTheirQuestion) {
  const Model& model = embedded_model();
  const auto whole = model.encode("Question: dog\nAnswer: 1234", false);
  const auto answer = answer_tokens(model, "Question: dog\nAnswer:", " 1234");
  EXPECT_EQ(std::vector(whole.end() - static_cast<long>(answer.size()), whole.end()), answer);
  EXPECT_EQ(model.decode(answer), " 1234");
  EXPECT_EQ(answer_tokens(model, "the moun", "tain"), model.encode("tain", false));
}

TEST(Recall, KnowsWhereAnAnswerStands) {
  const std::string text = "line old-dog: REGISTER_CONTENT is <12345>\n<12345>";
  const auto tokens = embedded_model().encode(text, true);
  const auto found = positions_of(embedded_model(), tokens, text, "12345");
  std::string shown;  // digits are tokens of their own
  for (const int i : found) shown += embedded_model().decode({tokens[static_cast<size_t>(i)]});
  EXPECT_EQ(shown, "1234512345");
  EXPECT_TRUE(positions_of(embedded_model(), tokens, text, "nowhere").empty());
}

TEST(Recall, OfAnsweredTokensThatWereEvicted) {
  const auto plans = plans_of({"f16", "streaming:keep=0.1", "mikv"});
  const auto result = run_task("lines", eval_input(plans, 450, 2));
  ASSERT_EQ(result.rows.size(), 3u);
  EXPECT_LT(metric(result.rows[1], "answer_in_high"), 0.3);
  const auto& lost = result.rows[1].metrics[0];
  ASSERT_TRUE(lost.vs_f16);
  EXPECT_LE(lost.vs_f16->first, lost.value - result.rows[0].metrics[0].value);
  EXPECT_LT(lost.vs_f16->second, 0);
  EXPECT_GT(metric(result.rows[2], "answer_in_high"), 0);
}

TEST(Recall, MayKnowTheQuestion) {
  const auto plans = plans_of({"f16", "snapkv:keep=0.3"});
  auto in = eval_input(plans, 450, 2);
  const auto unseen = run_task("lines", in);
  in.options.query_aware = true;
  const auto aware = run_task("lines", in);
  EXPECT_EQ(metric(aware.rows[0], "n"), 10);
  EXPECT_GE(metric(aware.rows[0], "accuracy"), 0.9);
  EXPECT_GT(metric(aware.rows[1], "accuracy"), metric(unseen.rows[1], "accuracy"));
}

TEST(Recall, GivesEachPlaceOfAGrid) {
  const auto plans = plans_of({"f16"});
  const auto row = run_task("passkey", eval_input(plans, 800, 6)).rows.at(0);
  ASSERT_EQ(row.cells.size(), 6u);
  EXPECT_EQ(row.cells[5].place, (Place{{"length", 600}, {"depth", 0}}));
  EXPECT_EQ(row.cells[5].n, 1);
  EXPECT_EQ(metric(row, "depth_0"), (row.cells[0].value + row.cells[5].value) / 2);
}

TEST(Recall, AsksEveryFifthOfARecord) {
  const auto plans = plans_of({"f16"});
  const auto in = eval_input(plans, 450, 2);
  std::set<double> depths;
  const auto sample = make_record(in, lines_style(), 0).value();
  const auto lines = std::count(sample.context.begin(), sample.context.end(), '\n') - 1;
  for (const auto& question : sample.questions) {
    ASSERT_EQ(question.place.size(), 2u);
    const size_t at = sample.context.find("<" + question.answers[0] + ">");
    const auto before =
        std::count(sample.context.begin(), sample.context.begin() + static_cast<long>(at), '\n') -
        1;
    EXPECT_NEAR(question.place[1].second, static_cast<double>(before) / static_cast<double>(lines),
                0.1 + 1.0 / static_cast<double>(lines));
    depths.insert(question.place[1].second);
  }
  EXPECT_EQ(depths, (std::set<double>{0.1, 0.3, 0.5, 0.7, 0.9}));
  const auto row = run_task("lines", in).rows.at(0);
  ASSERT_EQ(row.cells.size(), 5u);
  double sum = 0;
  for (const auto& cell : row.cells) {
    EXPECT_EQ(cell.n, 2);
    sum += cell.value;
  }
  EXPECT_NEAR(sum / 5, metric(row, "accuracy"), 1e-12);
}

TEST(Recall, EveryTaskRunsOnTheExactCache) {
  const auto plans = plans_of({"f16"});
  for (const std::string task : {"needle", "multi_needle", "copy", "variable_tracking"}) {
    const auto row = run_task(task, eval_input(plans, 500, 1)).rows.at(0);
    EXPECT_EQ(row.task, task);
    EXPECT_LE(row.cache.tokens, 500) << task;
    // The embedded model follows no variables and repeats a passage in part.
    if (task.ends_with("needle")) {
      EXPECT_GE(metric(row, "accuracy"), 0.75) << task;
    }
  }
}

TEST(Recall, OfAnEvictedRecordIsNot) {
  const auto plans = plans_of({"f16", "streaming:keep=0.1"});
  const auto result = run_task("lines", eval_input(plans, 450, 2));
  ASSERT_EQ(result.rows.size(), 2u);
  EXPECT_LT(result.rows[1].metrics[0].value, 0.5);
}

TEST(Recall, StopsWithWhatIsCompleteForEveryPlan) {
  const auto plans = plans_of({"f16", "rtn2"});
  auto in = eval_input(plans, 300, 3);
  in.progress = [](double done, double total) { return done < 0.6 * total; };
  const auto result = run_task("passkey", in);
  EXPECT_TRUE(result.interrupted);
  ASSERT_EQ(result.rows.size(), 2u);
  for (const auto& row : result.rows) EXPECT_EQ(row.metrics[1].value, 1) << row.cache.preset;
}

}  // namespace
}  // namespace kvkeep
