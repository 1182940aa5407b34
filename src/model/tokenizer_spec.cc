// The keys tokenizer.ggml.* of a model file as a TokenizerSpec.
#include <limits>
#include <utility>

#include "base/fail.h"
#include "model/gguf.h"
#include "model/tokenizer.h"

namespace kvkeep {
namespace {

// A token id, or -1 where the file has none.
Result<int> token_id(const Gguf& file, std::string_view key) {
  const int64_t id = file.integer(key, -1);
  if (id < -1 || id > std::numeric_limits<int32_t>::max())
    return bad_input("{}: {} is {}, allowed are token ids", file.path(), key, id);
  return static_cast<int>(id);
}

Result<std::vector<std::string>> texts(const Gguf& file, std::string_view key) {
  const auto* values = file.strings(key);
  if (!values) return bad_input("{}: key '{}' is missing or no array of texts", file.path(), key);
  return *values;
}

Result<void> read_types(const Gguf& file, TokenizerSpec& spec) {
  const auto* types = file.integers("tokenizer.ggml.token_type");
  if (!types) return {};
  for (const int64_t type : *types) {
    if (type < 0 || type > 6)
      return bad_input("{}: token type {} is unknown, allowed are 0 to 6", file.path(), type);
    spec.types.push_back(static_cast<int>(type));
  }
  return {};
}

Result<void> read_scores(const Gguf& file, TokenizerSpec& spec) {
  const auto* scores = file.numbers("tokenizer.ggml.scores");
  if (!scores)
    return bad_input("{}: key 'tokenizer.ggml.scores' is missing or no array of numbers",
                     file.path());
  for (const double score : *scores) spec.scores.push_back(static_cast<float>(score));
  return {};
}

Result<void> read_ids(const Gguf& file, TokenizerSpec& spec) {
  const std::pair<const char*, int*> keys[] = {{"tokenizer.ggml.bos_token_id", &spec.bos},
                                               {"tokenizer.ggml.eos_token_id", &spec.eos},
                                               {"tokenizer.ggml.unknown_token_id", &spec.unknown}};
  for (const auto& [key, id] : keys) {
    const auto value = token_id(file, key);
    if (!value) return tl::unexpected(value.error());
    *id = *value;
  }
  return {};
}

}  // namespace

Result<TokenizerSpec> read_tokenizer_spec(const Gguf& file) {
  using Kind = Gguf::Kind;
  constexpr Gguf::Expected kOptional[] = {{"tokenizer.ggml.pre", Kind::text},
                                          {"tokenizer.ggml.token_type", Kind::integers},
                                          {"tokenizer.ggml.bos_token_id", Kind::integer},
                                          {"tokenizer.ggml.eos_token_id", Kind::integer},
                                          {"tokenizer.ggml.unknown_token_id", Kind::integer},
                                          {"tokenizer.ggml.add_bos_token", Kind::boolean},
                                          {"tokenizer.ggml.add_space_prefix", Kind::boolean}};
  KVKEEP_TRY(file.expect(kOptional));
  TokenizerSpec spec;
  spec.source = file.path();
  auto model = file.text("tokenizer.ggml.model");
  if (!model) return tl::unexpected(std::move(model).error());
  spec.model = std::move(*model);
  spec.pre = file.text("tokenizer.ggml.pre", "default");
  auto tokens = texts(file, "tokenizer.ggml.tokens");
  if (!tokens) return tl::unexpected(std::move(tokens).error());
  spec.tokens = std::move(*tokens);
  const bool spm = spec.model == "llama";
  if (spm) {
    KVKEEP_TRY(read_scores(file, spec));
  } else if (spec.model == "gpt2") {
    auto merges = texts(file, "tokenizer.ggml.merges");
    if (!merges) return tl::unexpected(std::move(merges).error());
    spec.merges = std::move(*merges);
  }
  KVKEEP_TRY(read_types(file, spec));
  KVKEEP_TRY(read_ids(file, spec));
  // Files without the key: SentencePiece and Llama 3 models begin with BOS, the others do not.
  spec.add_bos = file.boolean("tokenizer.ggml.add_bos_token", spm || spec.pre == "llama-bpe");
  spec.add_space_prefix = file.boolean("tokenizer.ggml.add_space_prefix", true);
  return spec;
}

}  // namespace kvkeep
