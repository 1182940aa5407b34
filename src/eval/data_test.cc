#include "eval/data.h"

#include "eval/eval_fixture.h"

namespace kvkeep {
namespace {

constexpr const char* kLongBench =
    R"({"input": "Who?", "context": "It was Ann.", "answers": ["Ann", "Ann B"], "dataset": "qa",)"
    R"( "length": 3, "_id": "x"})";
constexpr const char* kRuler =
    R"({"index": 0, "input": "Facts.\nWhich two?\n", "outputs": ["1", "2"],)"
    R"( "answer_prefix": " They are"})";

TEST(Data, ReadsTheFieldsOfLongBenchAndRuler) {
  const auto samples =
      parse_samples(std::string(kLongBench) + "\r\n\n" + kRuler + "\n", "file").value();
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0].context, "It was Ann.");
  EXPECT_EQ(samples[0].questions[0].ask, "\nWho?\nAnswer:");
  EXPECT_EQ(samples[0].questions[0].answers, (std::vector<std::string>{"Ann", "Ann B"}));
  EXPECT_EQ(samples[0].group, "dataset_qa");
  EXPECT_EQ(samples[1].context, "Facts.");
  EXPECT_EQ(samples[1].questions[0].ask, "\nWhich two?\n They are");
  EXPECT_EQ(samples[1].questions[0].answers, (std::vector<std::string>{"1", "2"}));
}

TEST(Data, NamesTheLineThatIsWrong) {
  const std::string good = std::string(kLongBench) + "\n";
  const auto message = [&](const std::string& line) {
    return parse_samples(good + "\n" + line, "qa.jsonl").error().message;
  };
  EXPECT_EQ(message("{"), "qa.jsonl:3: not a JSON object");
  EXPECT_EQ(message("[1]"), "qa.jsonl:3: not a JSON object");
  EXPECT_EQ(message(R"({"answers": ["a"], "input": "b"})"),
            "qa.jsonl:3: field 'context' is missing");
  EXPECT_EQ(message(R"({"answers": ["a"], "input": 1, "context": ""})"),
            "qa.jsonl:3: field 'input' is not a text");
  EXPECT_EQ(message(R"({"answers": [], "input": "", "context": ""})"),
            "qa.jsonl:3: field 'answers' is not a list of at least one text");
  EXPECT_NE(message(R"({"outputs": ["a"], "input": "one line"})").find("last one"),
            std::string::npos);
  EXPECT_NE(message("{}").find("outputs"), std::string::npos);
  EXPECT_EQ(parse_samples("\n \n", "x").error().message, "x holds no samples");
}

TEST(Data, CutsTheMiddleOfALongContext) {
  RecallSample sample{embedded_passage().substr(0, 4000), {{"\nWhy?\nAnswer:", {"so"}}}};
  const std::string whole = sample.context;
  EXPECT_TRUE(cut_middle(embedded_model(), sample, 300, 16).value());
  EXPECT_LE(recall_tokens(embedded_model(), sample, 16), 300);
  EXPECT_GT(recall_tokens(embedded_model(), sample, 16), 290);
  EXPECT_EQ(sample.context.substr(0, 200), whole.substr(0, 200));
  EXPECT_EQ(sample.context.substr(sample.context.size() - 200), whole.substr(whole.size() - 200));
  EXPECT_FALSE(cut_middle(embedded_model(), sample, 300, 16).value());
  EXPECT_FALSE(cut_middle(embedded_model(), sample, 20, 16));
}

// The dictionary that the model knows, as a file: the exact cache answers to the letter.
TEST(Data, ScoresAnswers) {
  const std::string line =
      R"({"context": "Dictionary:\ndog: 1234\ncat: 5678\nhen: 4321", "input": "Question: cat",)"
      R"( "answers": ["5678"], "dataset": "pairs"})";
  const auto plans = plans_of({"f16"});
  auto in = eval_input(plans, 256, 1);
  in.options.data_name = "pairs.jsonl";
  in.data = line;
  const auto row = run_task("data", in).rows.at(0);
  for (const char* name : {"f1", "rouge_l", "exact_match", "contains", "dataset_pairs", "n"})
    EXPECT_EQ(metric(row, name), 1) << name;
  EXPECT_EQ(metric(row, "cut"), 0);
  in.options.data_name = "";
  EXPECT_EQ(find_task("data").value()->run(in).error().code, ErrorCode::bad_input);
}

}  // namespace
}  // namespace kvkeep
