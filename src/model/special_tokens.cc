#include "model/special_tokens.h"

#include <algorithm>

#include "model/text_encoder.h"
#include "model/tokenizer.h"
#include "model/unicode.h"

namespace kvkeep {

SpecialTokens::SpecialTokens(const TokenizerSpec& spec) {
  for (size_t id = 0; id < spec.types.size(); ++id) {
    const bool control = spec.types[id] == kControlToken;
    const std::string_view text = spec.tokens[id];
    if (text.empty() || !(control || spec.types[id] == kUserToken)) continue;
    if (!is_valid_utf8(text)) continue;  // valid text must be cut between its characters
    by_first_byte_[static_cast<unsigned char>(text[0])].push_back(
        {text, static_cast<int32_t>(id), control});
  }
  const auto longer = [](const Token& a, const Token& b) { return a.text.size() > b.text.size(); };
  for (auto& tokens : by_first_byte_) std::stable_sort(tokens.begin(), tokens.end(), longer);
}

const SpecialTokens::Token* SpecialTokens::find(std::string_view text, bool with_control) const {
  for (const Token& token : by_first_byte_[static_cast<unsigned char>(text[0])])
    if ((with_control || !token.control) && text.starts_with(token.text)) return &token;
  return nullptr;
}

std::vector<SpecialTokens::Part> SpecialTokens::split(std::string_view text,
                                                      bool with_control) const {
  std::vector<Part> parts;
  size_t plain = 0;  // start of the plain text not yet in parts
  for (size_t at = 0; at < text.size();) {
    const Token* token = find(text.substr(at), with_control);
    if (!token) {
      ++at;
      continue;
    }
    if (at > plain) parts.push_back({text.substr(plain, at - plain), -1});
    parts.push_back({token->text, token->id});
    at += token->text.size();
    plain = at;
  }
  if (plain < text.size()) parts.push_back({text.substr(plain), -1});
  return parts;
}

}  // namespace kvkeep
