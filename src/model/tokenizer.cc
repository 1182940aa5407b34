#include "model/tokenizer.h"

#include <utility>

#include "base/fail.h"
#include "model/special_tokens.h"
#include "model/text_encoder.h"
#include "model/unicode.h"

namespace kvkeep {
namespace {

bool is_spm(const TokenizerSpec& spec) { return spec.model == "llama"; }

std::string replace_space_marks(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const bool mark = text.starts_with(kSpaceMark);
    out += mark ? ' ' : text[0];
    text.remove_prefix(mark ? kSpaceMark.size() : 1);
  }
  return out;
}

// What the token with this id prints.
std::string printed_bytes(const TokenizerSpec& spec, size_t id) {
  const int type = spec.types.empty() ? kNormalToken : spec.types[id];
  if (type == kControlToken || type == kUnknownToken) return "";
  if (!is_spm(spec))
    return type == kUserToken ? spec.tokens[id] : bytes_of_symbols(spec.tokens[id]);
  if (const int byte = byte_of_token(spec, id); byte >= 0) return {static_cast<char>(byte)};
  return replace_space_marks(spec.tokens[id]);
}

Result<void> check_id(const char* name, int id, size_t vocab) {
  if (id < -1 || id >= static_cast<int64_t>(vocab))
    return bad_input("the tokenizer's {} id is {}, allowed are -1 (none) to {}", name, id,
                     vocab - 1);
  return {};
}

Result<void> check_spec(const TokenizerSpec& spec) {
  const size_t vocab = spec.tokens.size();
  if (spec.model != "gpt2" && spec.model != "llama")
    return bad_input("the tokenizer's model is '{}', allowed are gpt2, llama",
                     printable(spec.model));
  if (vocab == 0) return bad_input("the tokenizer has no tokens");
  if (!spec.types.empty() && spec.types.size() != vocab)
    return bad_input("the tokenizer has {} token types for {} tokens", spec.types.size(), vocab);
  KVKEEP_TRY(check_id("BOS", spec.bos, vocab));
  KVKEEP_TRY(check_id("EOS", spec.eos, vocab));
  return check_id("unknown", spec.unknown, vocab);
}

}  // namespace

struct Tokenizer::Impl {
  explicit Impl(TokenizerSpec made_from) : spec(std::move(made_from)), special(spec) {
    printed.reserve(spec.tokens.size());
    for (size_t id = 0; id < spec.tokens.size(); ++id) printed.push_back(printed_bytes(spec, id));
  }

  TokenizerSpec spec;
  SpecialTokens special;
  std::unique_ptr<TextEncoder> encoder;
  std::vector<std::string> printed;  // [vocab]
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::make(TokenizerSpec spec) {
  const std::string where = spec.source.empty() ? "" : spec.source + ": ";
  const auto refuse = [&](Error error) {
    return tl::unexpected(Error{error.code, where + error.message});
  };
  if (auto checked = check_spec(spec); !checked) return refuse(std::move(checked).error());
  auto impl = std::make_unique<Impl>(std::move(spec));
  auto encoder = is_spm(impl->spec) ? make_spm_encoder(impl->spec) : make_bpe_encoder(impl->spec);
  if (!encoder) return refuse(std::move(encoder).error());
  impl->encoder = std::move(*encoder);
  return Tokenizer(std::move(impl));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_bos,
                                       bool parse_special) const {
  std::string repaired;
  if (!is_valid_utf8(text)) text = repaired = replace_invalid_utf8(text);
  std::vector<int32_t> ids;
  if (add_bos && bos() >= 0) ids.push_back(bos());
  for (const SpecialTokens::Part& part : impl_->special.split(text, parse_special)) {
    if (part.id >= 0)
      ids.push_back(part.id);
    else
      impl_->encoder->encode(part.text, ids);
  }
  return ids;
}

std::string Tokenizer::decode(const std::vector<int32_t>& ids) const {
  std::string text;
  for (const int32_t id : ids)
    if (id >= 0 && id < vocab_size()) text += impl_->printed[static_cast<size_t>(id)];
  const bool added_space = is_spm(impl_->spec) && impl_->spec.add_space_prefix;
  if (added_space && text.starts_with(' ')) text.erase(0, 1);
  return text;
}

std::string Tokenizer::token_bytes(int32_t id) const {
  return id >= 0 && id < vocab_size() ? impl_->printed[static_cast<size_t>(id)] : std::string();
}

int Tokenizer::vocab_size() const { return static_cast<int>(impl_->spec.tokens.size()); }
int Tokenizer::bos() const { return impl_->spec.bos; }
int Tokenizer::eos() const { return impl_->spec.eos; }
bool Tokenizer::adds_bos() const { return impl_->spec.add_bos && bos() >= 0; }

}  // namespace kvkeep
