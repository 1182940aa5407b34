#include "model/tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "model/gguf.h"
#include "model/mixed_text.h"
#include "model/text_encoder.h"

namespace kvkeep {
namespace {

using Ids = std::vector<int32_t>;

// A line of tests/golden/tokenizer_*.txt: the hash, then perhaps the ids themselves.
void expect_parity(const Tokenizer& tokenizer, const std::string& golden, size_t count) {
  const auto lines = golden_lines(golden);
  ASSERT_EQ(lines.size(), count);
  const MixedText texts;
  int differing = 0;
  for (size_t i = 0; i < count; ++i) {
    const std::string text = texts.make(i);
    const Ids ids = tokenizer.encode(text, false, true);
    if (hash_text(ids) == lines[i].substr(0, 16)) continue;
    if (++differing > 5) continue;
    std::string found;
    for (const int32_t id : ids) found.append(" ").append(std::to_string(id));
    ADD_FAILURE() << "string " << i << " '" << text << "' gives" << found << ", expected "
                  << lines[i];
  }
  EXPECT_EQ(differing, 0);
}

TokenizerSpec embedded_spec() {
  const auto file = Gguf::open(std::string(KVKEEP_SOURCE_DIR) + "/models/kvkeep-5m-f16.gguf");
  return read_tokenizer_spec(file.value()).value();
}

// A tokenizer.json of the `tokenizers` package as the same metadata a model file has.
TokenizerSpec spec_of_json(const std::string& path, const std::string& pre) {
  std::ifstream file(path);
  const auto json = nlohmann::json::parse(file);
  TokenizerSpec spec;
  spec.model = "gpt2";
  spec.pre = pre;
  const auto& vocab = json.at("model").at("vocab");
  spec.tokens.resize(vocab.size());
  for (const auto& [token, id] : vocab.items()) spec.tokens.at(id.get<size_t>()) = token;
  spec.types.assign(vocab.size(), kNormalToken);
  for (const auto& added : json.at("added_tokens"))
    spec.types.at(added.at("id").get<size_t>()) = kControlToken;
  for (const auto& merge : json.at("model").at("merges"))
    spec.merges.push_back(merge.is_string() ? merge.get<std::string>()
                                            : merge.at(0).get<std::string>() + " " +
                                                  merge.at(1).get<std::string>());
  return spec;
}

TEST(Tokenizer, TheEmbeddedModelAgreesWithTheTokenizersPackage) {
  expect_parity(Tokenizer::make(embedded_spec()).value(), "tokenizer_kvkeep-5m.txt", 2000);
}

TEST(Tokenizer, SmolLm2AgreesWithTheTokenizersPackageOnTenThousandStrings) {
  const std::string path =
      std::string(KVKEEP_SOURCE_DIR) + "/../shared/data/smollm2-tokenizer/tokenizer.json";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no tokenizer.json of SmolLM2 at " << path;
  const auto tokenizer = Tokenizer::make(spec_of_json(path, "smollm"));
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  expect_parity(*tokenizer, "tokenizer_smollm2.txt", 10000);
}

TEST(Tokenizer, DecodingGivesTheTextBackAndInvalidBytesRepaired) {
  const Tokenizer tokenizer = Tokenizer::make(embedded_spec()).value();
  const MixedText texts;
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    const std::string text = texts.make(seed);
    ASSERT_EQ(tokenizer.decode(tokenizer.encode(text)), replace_invalid_utf8(text));
  }
}

TEST(Tokenizer, ControlTokensAreSpelledOnlyOnRequest) {
  const TokenizerSpec spec = embedded_spec();
  const Tokenizer tokenizer = Tokenizer::make(spec).value();
  const int32_t end = tokenizer.eos();
  EXPECT_EQ(end, 2046);
  EXPECT_TRUE(tokenizer.adds_bos());
  EXPECT_EQ(tokenizer.encode("<|endoftext|>", false, true), Ids{end});
  EXPECT_GT(tokenizer.encode("<|endoftext|>").size(), 1u);
  EXPECT_EQ(tokenizer.encode("", true), Ids{tokenizer.bos()});
  Ids ids = tokenizer.encode("a<|endoftext|>b", true, true);
  EXPECT_EQ(ids.size(), 4u);
  ids.push_back(-7);
  ids.push_back(1 << 30);
  EXPECT_EQ(tokenizer.decode(ids), "ab");
  EXPECT_EQ(tokenizer.token_bytes(end), "");
  EXPECT_EQ(tokenizer.token_bytes(tokenizer.encode(" the")[0]), " the");
}

TEST(Tokenizer, UserTokensAlwaysMatchLongestFirst) {
  TokenizerSpec spec = embedded_spec();
  spec.tokens.insert(spec.tokens.end(), {"<x>", "<x><y>", "\x80"});
  spec.types.insert(spec.types.end(), 3, kUserToken);
  const Tokenizer tokenizer = Tokenizer::make(spec).value();
  EXPECT_EQ(tokenizer.encode("<x><x><y>"), (Ids{2048, 2049}));
  EXPECT_EQ(tokenizer.decode({2049, 2048}), "<x><y><x>");
  const std::string snowman = "\xe2\x98\x80";  // its last byte is no user token
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(snowman)), snowman);
}

TEST(Tokenizer, LlamaPiecesThatAreTokensStayWhole) {
  TokenizerSpec spec = embedded_spec();
  spec.tokens.push_back("qzx");  // no merge leads there
  spec.types.push_back(kNormalToken);
  EXPECT_EQ(Tokenizer::make(spec)->encode("qzx").size(), 3u);
  spec.pre = "llama-bpe";
  EXPECT_EQ(Tokenizer::make(spec)->encode("qzx"), Ids{2048});
}

TEST(Tokenizer, AMegabyteOfOneLetterIsQuick) {
  TokenizerSpec spec = embedded_spec();
  spec.tokens.insert(spec.tokens.end(), {"qq", "qqqq"});
  spec.types.clear();
  spec.merges.insert(spec.merges.end(), {"q q", "qq qq"});
  const Tokenizer tokenizer = Tokenizer::make(spec).value();
  EXPECT_EQ(tokenizer.encode(std::string(1 << 20, 'q')), Ids(1 << 18, 2049));
}

TEST(Tokenizer, EncodesOnSeveralThreadsAtOnce) {
  const Tokenizer tokenizer = Tokenizer::make(embedded_spec()).value();
  const MixedText texts;
  const auto encode_all = [&] {
    std::vector<Ids> all;
    for (uint64_t seed = 0; seed < 200; ++seed) all.push_back(tokenizer.encode(texts.make(seed)));
    return all;
  };
  std::vector<std::vector<Ids>> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results) threads.emplace_back([&] { result = encode_all(); });
  for (auto& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, encode_all());
}

TEST(Tokenizer, RefusesMetadataThatDoesNotFitTogether) {
  const auto refusal = [](const auto& change) {
    TokenizerSpec spec = embedded_spec();
    spec.source = "m.gguf";
    change(spec);
    const auto made = Tokenizer::make(std::move(spec));
    return made ? Error{} : made.error();
  };
  EXPECT_EQ(refusal([](auto& s) { s.model = "bert"; }).message,
            "m.gguf: the tokenizer's model is 'bert', allowed are gpt2, llama");
  EXPECT_EQ(refusal([](auto& s) { s.pre = "tekken"; }).message,
            "m.gguf: pre-tokenizer is 'tekken', allowed are gpt-2, llama-bpe, qwen2, smollm, "
            "default");
  EXPECT_EQ(refusal([](auto& s) { s.tokens.clear(); }).message,
            "m.gguf: the tokenizer has no tokens");
  EXPECT_EQ(refusal([](auto& s) { s.types.pop_back(); }).message,
            "m.gguf: the tokenizer has 2047 token types for 2048 tokens");
  EXPECT_EQ(refusal([](auto& s) { s.bos = 2048; }).message,
            "m.gguf: the tokenizer's BOS id is 2048, allowed are -1 (none) to 2047");
  EXPECT_EQ(refusal([](auto& s) { s.merges[3] = "nospace"; }).message,
            "m.gguf: merge 3 is 'nospace', 'left right' is needed");
  EXPECT_EQ(refusal([](auto& s) { s.merges[3] = "a \n"; }).message,
            "m.gguf: merge 3 is 'a \\x0a', but the vocabulary has no '\\x0a'");
}

}  // namespace
}  // namespace kvkeep
