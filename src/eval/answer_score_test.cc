// Scores worked out by hand.
#include "eval/answer_score.h"

#include <gtest/gtest.h>

namespace kvkeep {
namespace {

TEST(AnswerScore, NormalisesCasePunctuationArticlesAndBlanks) {
  EXPECT_EQ(normalised("  The  Cat's, a-hat! "), "cats ahat");
  EXPECT_EQ(normalised("Österreich"), "Österreich");
  EXPECT_EQ(normalised(""), "");
}

TEST(AnswerScore, F1OverBagsOfWords) {
  // said: {big, dog, ran, big}, answer: {big, cat, ran}: 2 in common, 2 * 2 / (4 + 3)
  EXPECT_DOUBLE_EQ(f1("the big dog ran, big", "A big cat ran"), 4.0 / 7);
  EXPECT_EQ(f1("ran big", "big ran"), 1);
  EXPECT_EQ(f1("", "big"), 0);
  EXPECT_EQ(f1("dog", "cat"), 0);
}

TEST(AnswerScore, RougeKeepsTheOrder) {
  // longest common subsequence of (x y z w) and (y w x z) is (y z) or (y w): 2 * 2 / (4 + 4)
  EXPECT_DOUBLE_EQ(rouge_l("x y z w", "y w x z"), 0.5);
  EXPECT_DOUBLE_EQ(f1("x y z w", "y w x z"), 1);
  EXPECT_EQ(rouge_l("", "x"), 0);
}

TEST(AnswerScore, TheBestAnswerCounts) {
  const RecallQuestion question{"", {"Paris", "the city of Paris"}};
  EXPECT_EQ(best_match("paris.", question), 1);
  EXPECT_EQ(best_match("in Paris", question), 0);
  EXPECT_DOUBLE_EQ(best_f1("city Paris", question), 2 * 2.0 / (2 + 3));
  EXPECT_DOUBLE_EQ(best_rouge_l("Paris city", question), 2.0 / (2 + 1));
}

TEST(AnswerScore, ShareOfAnswersContained) {
  const RecallQuestion question{"", {"ABC", "DEF", "GHI", "JKL"}};
  EXPECT_DOUBLE_EQ(contains_all("abc, GHI and xyz", question), 0.5);
  EXPECT_EQ(contains_all("", question), 0);
}

}  // namespace
}  // namespace kvkeep
