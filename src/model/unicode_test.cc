#include "model/unicode.h"

#include <gtest/gtest.h>

namespace kvkeep {
namespace {

const std::string kMark = "\xef\xbf\xbd";  // U+FFFD

TEST(Unicode, RepairsAsPythonDoes) {
  const std::pair<std::string, std::string> cases[] = {
      {"plain", "plain"},
      {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
      {"\x80", kMark},
      {"\xff\xfe", kMark + kMark},
      {"\xc0\xaf", kMark + kMark},                          // overlong
      {"\xe0\x80\xaf", kMark + kMark + kMark},              // overlong
      {"\xed\xa0\x80", kMark + kMark + kMark},              // surrogate
      {"\xf4\x90\x80\x80", kMark + kMark + kMark + kMark},  // past U+10FFFF
      {"\xe2\x82", kMark},                                  // one maximal subpart
      {"\xe2\x82x", kMark + "x"},
      {"\xf0\x9f\x98", kMark},
      {"\xf0\x9f\x98\xf0\x9f\x98\x80", kMark + "\xf0\x9f\x98\x80"},
      {"\xf1\x80\xe2\x82\xc2x\x80", kMark + kMark + kMark + "x" + kMark},
  };
  for (const auto& [bytes, repaired] : cases) {
    EXPECT_EQ(replace_invalid_utf8(bytes), repaired);
    EXPECT_EQ(is_valid_utf8(bytes), bytes == repaired);
  }
}

TEST(Unicode, EveryCodePointSurvivesAndEverySurrogateIsRefused) {
  for (uint32_t code = 0; code < 0x110000; ++code) {
    std::string text;
    append_utf8(text, code);
    const Utf8Step step = utf8_step(text, 0);
    const bool surrogate = code >= 0xd800 && code < 0xe000;
    ASSERT_EQ(step.valid, !surrogate) << code;
    if (surrogate) continue;
    ASSERT_EQ(step.code, code);
    ASSERT_EQ(step.size, text.size());
  }
}

TEST(Unicode, TheByteAlphabetHas256Letters) {
  std::string all, spelled;
  for (int byte = 0; byte < 256; ++byte) {
    all += static_cast<char>(byte);
    spelled += byte_symbol(static_cast<uint8_t>(byte));
  }
  EXPECT_EQ(bytes_of_symbols(spelled), all);
  EXPECT_EQ(byte_symbol(' '), "\xc4\xa0");
  EXPECT_EQ(byte_symbol('a'), "a");
  EXPECT_EQ(bytes_of_symbols("\xe2\x82\xac"), "\xe2\x82\xac");  // not in the alphabet
}

}  // namespace
}  // namespace kvkeep
