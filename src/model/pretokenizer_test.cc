#include "model/pretokenizer.h"

#include <gtest/gtest.h>

#include <sstream>

#include "model/mixed_text.h"

namespace kvkeep {
namespace {

std::vector<std::string> split(const std::string& family, std::string_view text) {
  std::vector<std::string_view> pieces;
  Pretokenizer::make(family)->split(text, pieces);
  return {pieces.begin(), pieces.end()};
}

using Pieces = std::vector<std::string>;

TEST(Pretokenizer, TheFamiliesDifferWhereTheyShould) {
  EXPECT_EQ(split("gpt-2", "it's  12345 WE'LL"),
            (Pieces{"it", "'s", " ", " 12345", " WE", "'", "LL"}));
  EXPECT_EQ(split("llama-bpe", "it's  12345 WE'LL"),
            (Pieces{"it", "'s", " ", " ", "123", "45", " WE", "'LL"}));
  EXPECT_EQ(split("qwen2", "a12\n\n b"), (Pieces{"a", "1", "2", "\n\n", " b"}));
  EXPECT_EQ(split("smollm", "x  12 "), (Pieces{"x", "  ", "1", "2", " "}));
  EXPECT_EQ(split("default", "a.b 1234"), (Pieces{"a", ".", "b", " ", "123", "4"}));
  EXPECT_TRUE(split("gpt-2", "").empty());
}

// tests/golden/make_tokenizer_golden.py: 2,000 strings cut by the `tokenizers` package.
TEST(Pretokenizer, CutsAsTheTokenizersPackage) {
  const auto lines = golden_lines("pretokenizers.txt");
  ASSERT_EQ(lines.size(), 2001u);
  std::istringstream header(lines[0]);
  std::vector<std::pair<std::string, Pretokenizer>> families;
  for (std::string name; header >> name;)
    families.emplace_back(name, std::move(Pretokenizer::make(name).value()));
  ASSERT_EQ(families.size(), 5u);
  const MixedText texts;
  int differing = 0;
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::string text = replace_invalid_utf8(texts.make(i - 1));
    std::istringstream row(lines[i]);
    for (const auto& [name, family] : families) {
      std::vector<std::string_view> pieces;
      family.split(text, pieces);
      std::vector<size_t> lengths;
      for (const auto piece : pieces) lengths.push_back(piece.size());
      std::string expected;
      row >> expected;
      if (hash_text(lengths) != expected && ++differing <= 10)
        ADD_FAILURE() << name << " cuts string " << i - 1 << " otherwise: " << text;
    }
  }
  EXPECT_EQ(differing, 0);
}

TEST(Pretokenizer, LongRunsOfOneCharacterAreLinear) {
  for (const char* name : {"gpt-2", "llama-bpe", "qwen2", "smollm", "default"})
    for (const char c : {'a', ' ', '!', '\n', '1'}) {
      const std::string text = std::string(1 << 20, c) + "x";
      std::vector<std::string_view> pieces;
      Pretokenizer::make(name)->split(text, pieces);
      size_t total = 0;
      for (const auto piece : pieces) total += piece.size();
      EXPECT_EQ(total, text.size()) << name << " " << c;
    }
}

TEST(Pretokenizer, AnUnknownNameIsRefusedWithTheList) {
  EXPECT_EQ(Pretokenizer::make("tekken").error().message,
            "pre-tokenizer is 'tekken', allowed are gpt-2, llama-bpe, qwen2, smollm, default");
}

}  // namespace
}  // namespace kvkeep
