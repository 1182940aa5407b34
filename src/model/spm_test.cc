#include <gtest/gtest.h>

#include <algorithm>

#include "model/mixed_text.h"
#include "model/text_encoder.h"
#include "model/tokenizer.h"

namespace kvkeep {
namespace {

// <unk>, the 256 bytes, then `pieces` with falling scores.
TokenizerSpec spm_spec(const std::vector<std::string>& pieces) {
  TokenizerSpec spec;
  spec.model = "llama";
  spec.tokens = {"<unk>"};
  spec.types = {kUnknownToken};
  for (int byte = 0; byte < 256; ++byte) {
    constexpr const char* kDigits = "0123456789ABCDEF";
    spec.tokens.push_back(std::string("<0x") + kDigits[byte / 16] + kDigits[byte % 16] + ">");
    spec.types.push_back(kByteToken);
  }
  spec.scores.assign(spec.tokens.size(), 0.0f);
  for (const std::string& piece : pieces) {
    spec.scores.push_back(-static_cast<float>(spec.tokens.size()));
    spec.tokens.push_back(piece);
    spec.types.push_back(kNormalToken);
  }
  spec.unknown = 0;
  return spec;
}

int32_t id_of(const TokenizerSpec& spec, const std::string& token) {
  const auto it = std::find(spec.tokens.begin(), spec.tokens.end(), token);
  return it == spec.tokens.end() ? -1 : static_cast<int32_t>(it - spec.tokens.begin());
}

// The definition, slowly: join the neighbours whose union has the best score until none has one.
std::vector<int32_t> slow_encode(const TokenizerSpec& spec, const std::string& text) {
  std::vector<std::string> parts;
  const std::string full = " " + text;
  for (size_t at = 0; at < full.size();) {
    const size_t size = utf8_step(full, at).size;
    parts.push_back(full[at] == ' ' ? std::string(kSpaceMark) : full.substr(at, size));
    at += size;
  }
  while (true) {
    int32_t best = -1;
    size_t where = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const int32_t id = id_of(spec, parts[i] + parts[i + 1]);
      if (id < 257) continue;
      if (best < 0 || id < best) best = id, where = i;  // ids fall with the score
    }
    if (best < 0) break;
    parts[where] += parts[where + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
  std::vector<int32_t> ids;
  for (const std::string& part : parts)
    if (const int32_t id = id_of(spec, part); id >= 257)
      ids.push_back(id);
    else
      for (const char c : part) ids.push_back(1 + static_cast<unsigned char>(c));
  return ids;
}

struct Golden {
  std::vector<std::string> pieces, hashes;
  Golden() {
    std::ifstream file(golden_file("spm.json"));
    const auto json = nlohmann::json::parse(file);
    json.at("pieces").get_to(pieces);
    json.at("hashes").get_to(hashes);
  }
};

TEST(Spm, AgreesWithTheTokenizersPackageAndWithTheDefinition) {
  const Golden golden;
  ASSERT_EQ(golden.hashes.size(), 1000u);
  const TokenizerSpec spec = spm_spec(golden.pieces);
  const Tokenizer tokenizer = Tokenizer::make(spec).value();
  const MixedText texts;
  for (size_t i = 0; i < golden.hashes.size(); ++i) {
    const std::string text = replace_invalid_utf8(texts.make(i));
    const auto ids = tokenizer.encode(text);
    ASSERT_EQ(hash_text(ids), golden.hashes[i]) << i << ": " << text;
    ASSERT_EQ(tokenizer.decode(ids), text);
    if (i >= 20) continue;
    EXPECT_EQ(ids, slow_encode(spec, text)) << text;
  }
}

TEST(Spm, PrefixesBytesAndSpecialTokens) {
  TokenizerSpec spec =
      spm_spec({"ab", "\xe2\x96\x81\xe2\x96\x81", "\xe2\x96\x81", "a", "b", "<s>"});
  spec.types.back() = kControlToken;
  spec.bos = id_of(spec, "<s>");
  spec.add_bos = true;
  const Tokenizer tokenizer = Tokenizer::make(spec).value();
  const int32_t ab = 257, two = 258, space = 259, bos = 262;
  EXPECT_EQ(tokenizer.encode("ab"), (std::vector<int32_t>{space, ab}));
  EXPECT_EQ(tokenizer.encode(" ab", true), (std::vector<int32_t>{bos, two, ab}));
  EXPECT_EQ(tokenizer.encode("\n"), (std::vector<int32_t>{space, 1 + '\n'}));
  EXPECT_EQ(tokenizer.encode("ab<s>ab", false, true),
            (std::vector<int32_t>{space, ab, bos, space, ab}));
  EXPECT_EQ(tokenizer.decode({bos, space, ab, 1 + '\n'}), "ab\n");
  EXPECT_EQ(tokenizer.token_bytes(two), "  ");
  EXPECT_TRUE(tokenizer.adds_bos());
  spec.add_space_prefix = false;
  EXPECT_EQ(Tokenizer::make(spec)->encode("ab"), std::vector<int32_t>{ab});
}

TEST(Spm, AMegabyteOfOneLetterIsQuick) {
  const Tokenizer tokenizer =
      Tokenizer::make(spm_spec({"aaaa", "aa", "a", std::string(kSpaceMark)})).value();
  const std::string text(1 << 20, 'a');
  const auto ids = tokenizer.encode(text);
  EXPECT_EQ(ids.size(), 1 + (1u << 18));
  EXPECT_TRUE(tokenizer.decode(ids) == text);
}

TEST(Spm, RefusesScoresThatCannotOrder) {
  TokenizerSpec spec = spm_spec({"a"});
  spec.scores.back() = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(Tokenizer::make(spec).error().message, "the score of token 257 is not a number");
  spec.scores.pop_back();
  EXPECT_EQ(Tokenizer::make(spec).error().message,
            "the tokenizer has 257 scores, 258 tokens need one each");
}

}  // namespace
}  // namespace kvkeep
