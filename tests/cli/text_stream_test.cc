#include "tools/kvkeep/text_stream.h"

#include <gtest/gtest.h>

namespace kvkeep {
namespace {

TEST(TextStream, HoldsBackUnfinishedSequences) {
  TextStream stream;
  EXPECT_EQ(stream.push("a\xe2\x82"), "a");
  EXPECT_EQ(stream.push("\xac"
                        "b"),
            "\xe2\x82\xac"
            "b");
  EXPECT_EQ(stream.push("\xf0\x9f\x98"), "");
  EXPECT_EQ(stream.push("\x80"), "\xf0\x9f\x98\x80");
  EXPECT_EQ(stream.finish(), "");
}

TEST(TextStream, ReplacesWhatIsNoUtf8) {
  const std::string bad = "\xef\xbf\xbd";
  EXPECT_EQ(TextStream().push("\xff!"), bad + "!");
  EXPECT_EQ(TextStream().push("\xe2\x82z"), bad + "z");
  EXPECT_EQ(TextStream().push("\xc0\x80"), bad + bad);            // overlong
  EXPECT_EQ(TextStream().push("\xed\xa0\x80"), bad + bad + bad);  // surrogate
  EXPECT_EQ(TextStream().push("\xf4\x90\x80\x80"), bad + bad + bad + bad);
  TextStream cut;
  EXPECT_EQ(cut.push("\xe2\x82"), "");
  EXPECT_EQ(cut.finish(), bad);
}

TEST(TextStream, TextInAnyPiecesIsTheText) {
  const std::string text = "na\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80 end";
  for (size_t piece = 1; piece < text.size(); ++piece) {
    TextStream stream;
    std::string out;
    for (size_t i = 0; i < text.size(); i += piece) out += stream.push(text.substr(i, piece));
    EXPECT_EQ(out + stream.finish(), text);
  }
}

}  // namespace
}  // namespace kvkeep
