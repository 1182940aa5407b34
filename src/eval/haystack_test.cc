// Contexts with hidden facts, letter for letter.
#include "eval/haystack.h"

#include <gtest/gtest.h>

#include "eval/copy.h"
#include "eval/eval_fixture.h"
#include "eval/multi_needle.h"
#include "eval/needle.h"
#include "eval/passkey.h"
#include "eval/variable_tracking.h"

namespace kvkeep {
namespace {

TEST(Haystack, GridSweepsDepthsThenLengths) {
  TaskOptions options;
  options.context = 800;
  EXPECT_EQ(grid_place(options, 0).place(), (Place{{"length", 800}, {"depth", 0}}));
  EXPECT_EQ(grid_place(options, 4).place(), (Place{{"length", 800}, {"depth", 1}}));
  EXPECT_EQ(grid_place(options, 5).place(), (Place{{"length", 600}, {"depth", 0}}));
  EXPECT_EQ(grid_place(options, 17).place(), (Place{{"length", 200}, {"depth", 0.5}}));
  EXPECT_EQ(grid_place(options, 20).place(), grid_place(options, 0).place());
}

TEST(Haystack, FactsStandWhereTheirDepthSays) {
  const std::vector<std::string> hay = {"One.", "Two."};
  const std::vector<Fact> facts = {{" A.", 0}, {" B.", 0.5}, {" C.", 0.4}, {" D.", 1}};
  EXPECT_EQ(hide_facts("Head:", hay, facts), "Head: A. One. B. C. Two. D.");
  EXPECT_EQ(hide_facts("Head\n", hay, {}), "Head\nOne. Two.");
}

TEST(Haystack, SentencesOfATextComeInOrderAndGoRoundItsEnd) {
  Rng rng(1);
  const auto found = text_sentences("Aa. Bb. Cc. ", 20, rng).value();
  ASSERT_EQ(found.size(), 5u);  // of 4 letters each with the blank
  for (size_t i = 0; i + 1 < found.size(); ++i)
    EXPECT_EQ(found[i + 1], found[i] == "Aa." ? "Bb." : found[i] == "Bb." ? "Cc." : "Aa.");
  EXPECT_FALSE(text_sentences("no sentence", 20, rng));
}

TEST(Passkey, PromptIsTheOneTheModelKnows) {
  const auto sample = passkey_sample("12345", {0.5, 100}, 2);
  EXPECT_EQ(sample.context,
            "There is important information hidden inside this text. Find it and remember it.\n"
            "The grass is green. The pass key is <12345>. Remember it. <12345> is the pass key. "
            "The sky is blue.");
  ASSERT_EQ(sample.questions.size(), 1u);
  EXPECT_EQ(sample.questions[0].ask, "\nWhat is the pass key? The pass key is <");
  EXPECT_EQ(sample.questions[0].answers, std::vector<std::string>{"12345"});
  EXPECT_EQ(sample.place, (Place{{"length", 100}, {"depth", 0.5}}));
}

TEST(Passkey, FillsItsLength) {
  const auto plans = plans_of({"f16"});
  for (const int i : {0, 1, 2, 3, 4, 7, 13}) {
    const auto sample = make_passkey(eval_input(plans, 600, 1), i).value();
    const int length = i < 5 ? 600 : i < 10 ? 450 : 300;
    EXPECT_LE(recall_tokens(embedded_model(), sample), length);
    EXPECT_GT(recall_tokens(embedded_model(), sample), length - 20);
  }
  EXPECT_FALSE(make_passkey(eval_input(plans, 40, 1), 0));
}

TEST(Needle, HidesThePassKeyOrTheUsersSentenceInTheText) {
  const auto plans = plans_of({"f16"});
  auto in = eval_input(plans, 600, 1);
  const auto known = make_needle(in, 1).value();
  const std::string& answer = known.questions[0].answers[0];
  EXPECT_NE(known.context.find("The pass key is <" + answer + ">."), std::string::npos);
  EXPECT_LE(recall_tokens(embedded_model(), known), 600);
  EXPECT_GT(recall_tokens(embedded_model(), known), 450);  // sentences are long
  in.options.needle = "Bees like tea.";
  in.options.question = "What do bees like?";
  in.options.answer = "tea";
  const auto own = make_needle(in, 4).value();  // at the very end
  EXPECT_TRUE(own.context.ends_with(" Bees like tea."));
  EXPECT_EQ(own.questions[0].ask, "\nWhat do bees like?");
  in.options.answer = "";
  EXPECT_EQ(find_task("needle").value()->run(in).error().code, ErrorCode::bad_input);
}

TEST(MultiNeedle, AsksForEachOfFourLines) {
  const auto plans = plans_of({"f16"});
  const auto sample = make_multi_needle(eval_input(plans, 700, 1), 0).value();
  ASSERT_EQ(sample.questions.size(), 4u);
  for (const auto& question : sample.questions)
    EXPECT_NE(sample.context.find("REGISTER_CONTENT is <" + question.answers[0] + ">\n"),
              std::string::npos);
  EXPECT_LE(recall_tokens(embedded_model(), sample), 700);
}

TEST(VariableTracking, HandsTheValueOn) {
  const auto sample = chain_sample("12345", {"ABC", "XYZ"}, 2);
  EXPECT_TRUE(
      sample.context.ends_with("them all.\nThe grass is green. VAR ABC = 12345. The sky is "
                               "blue. VAR XYZ = VAR ABC."))
      << sample.context;
  EXPECT_EQ(sample.questions[0].ask,
            "\nWhich 2 variables have the value 12345? The variables with the value 12345 are VAR");
  EXPECT_EQ(sample.questions[0].answers, (std::vector<std::string>{"ABC", "XYZ"}));
}

TEST(Copy, CountsWordsBeforeTheFirstError) {
  const RecallQuestion question{"", {"one two three four"}};
  EXPECT_EQ(words_before_error("one two three four", question), 1);
  EXPECT_EQ(words_before_error("one two tree four", question), 0.5);
  EXPECT_EQ(words_before_error("one two three", question), 0.75);
  EXPECT_EQ(words_before_error("", question), 0);
}

TEST(Copy, PassageFitsTwice) {
  const auto plans = plans_of({"f16"});
  const auto sample = make_copy(eval_input(plans, 300, 1), 0).value();
  EXPECT_EQ(sample.context, "Repeat: " + sample.questions[0].answers[0]);
  const auto again = embedded_model().encode(sample.questions[0].answers[0], false).size();
  EXPECT_LE(recall_tokens(embedded_model(), sample, static_cast<int>(again)), 300);
  EXPECT_GT(again, 60u);
  EXPECT_FALSE(make_copy(eval_input(plans, 8, 1), 0));
}

}  // namespace
}  // namespace kvkeep
