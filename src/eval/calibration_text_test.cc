// What `kvkeep calibrate` reads: which windows are prose, its shuffled tokens and records.
#include "eval/calibration_text.h"

#include <algorithm>

#include "eval/eval_fixture.h"

namespace kvkeep {
namespace {

using Windows = std::vector<std::vector<int32_t>>;

constexpr int kContext = 400, kWindows = 18;

Windows windows(uint64_t seed) {
  // The last window would be a part of one: it is left out.
  return calibration_windows(embedded_model(), embedded_passage(), kContext,
                             kWindows * kContext + kContext - 1, seed)
      .value();
}

// Prose for window i: from the first blank in its place of the text on.
std::vector<int32_t> plain(size_t i) {
  const std::string& text = embedded_passage();
  const size_t from = text.size() * i / kWindows, blank = text.find_first_of(" \n", from);
  auto tokens = embedded_model().encode(text.substr(blank + 1, 8 * kContext), false);
  tokens.resize(kContext);
  return tokens;
}

TEST(CalibrationWindows, ProseAndItsShuffledTokensStandBetweenRecords) {
  const Windows found = windows(1);
  ASSERT_EQ(found.size(), size_t{kWindows});
  for (size_t i = 0; i < found.size(); ++i) {
    SCOPED_TRACE("window " + std::to_string(i));
    EXPECT_LE(found[i].size(), size_t{kContext});
    if (i % 2 == 1) {
      const std::string text = embedded_model().decode(found[i]);
      EXPECT_EQ(text.find("REGISTER_CONTENT") != std::string::npos, i % 4 == 1) << text;
      EXPECT_GT(found[i].size(), size_t{3 * kContext / 4});
      continue;
    }
    std::vector<int32_t> expected = plain(i), tokens = found[i];
    EXPECT_EQ(tokens == expected, i % 4 == 2);
    EXPECT_EQ(tokens[0], expected[0]) << "what may begin a text stays there";
    std::sort(tokens.begin(), tokens.end());
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(tokens, expected);
  }
}

TEST(CalibrationWindows, ShuffledTokensAreNotWhereTheyWere) {
  const Windows found = windows(1);
  for (size_t i = 0; i < found.size(); i += 4) {
    const std::vector<int32_t> expected = plain(i);
    size_t same = 0;
    for (size_t t = 1; t < expected.size(); ++t) same += found[i][t] == expected[t];
    EXPECT_LT(same, expected.size() / 8) << "one of a permutation, and frequent tokens by chance";
  }
}

TEST(CalibrationWindows, SeedsDrawRecordsAndShufflesButNotProse) {
  const Windows first = windows(1), again = windows(1), other = windows(2);
  EXPECT_EQ(first, again);
  for (size_t i = 0; i < first.size(); ++i) EXPECT_EQ(first[i] == other[i], i % 4 == 2) << i;
}

TEST(CalibrationWindows, RefusesTooFewTokensAndTooShortATextOrWindow) {
  const auto refusal = [](std::string_view text, int context, int64_t tokens) {
    const auto refused = calibration_windows(embedded_model(), text, context, tokens, 1);
    EXPECT_FALSE(refused);
    if (refused) return std::string();
    EXPECT_EQ(refused.error().code, ErrorCode::bad_input);
    return refused.error().message;
  };
  EXPECT_EQ(refusal(embedded_passage(), 400, 16 * 400 - 1),
            "calibration needs at least 16 windows: 6400 tokens, found 6399");
  const std::string shorter = embedded_passage().substr(0, 400);
  EXPECT_TRUE(
      refusal(shorter, 400, 6400).starts_with("the text is too short: the window from byte"))
      << refusal(shorter, 400, 6400);
  EXPECT_EQ(
      refusal("", 400, 6400),
      "the text is too short: the window from byte 0 on has 0 tokens of 400; give more text or "
      "a smaller --tokens");
  EXPECT_NE(refusal(embedded_passage(), 20, 6400).find("do not hold a record of 5 entries"),
            std::string::npos);
}

}  // namespace
}  // namespace kvkeep
