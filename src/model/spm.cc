// SentencePiece's BPE: no pre-tokenizer, spaces are U+2581, neighbours merge when together they are
// a token, best score first; a character without a token falls back to its bytes' tokens.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <unordered_map>

#include "base/fail.h"
#include "model/merge_symbols.h"
#include "model/text_encoder.h"
#include "model/tokenizer.h"
#include "model/unicode.h"

namespace kvkeep {
namespace {

class SpmEncoder final : public TextEncoder {
 public:
  explicit SpmEncoder(const TokenizerSpec& spec) : spec_(spec) {
    for (size_t id = 0; id < spec.tokens.size(); ++id) {
      const int type = spec.types.empty() ? kNormalToken : spec.types[id];
      const bool in_text = type == kNormalToken || type == kUserToken || type == kUnusedToken;
      if (!in_text) continue;
      tokens_.emplace(spec.tokens[id], static_cast<int32_t>(id));
      longest_ = std::max(longest_, spec.tokens[id].size());
    }
    for (size_t byte = 0; byte < byte_ids_.size(); ++byte) byte_ids_[byte] = spec.unknown;
    for (size_t id = 0; id < spec.tokens.size(); ++id)
      if (const int byte = byte_of_token(spec, id); byte >= 0)
        byte_ids_[static_cast<size_t>(byte)] = static_cast<int32_t>(id);
  }

  void encode(std::string_view text, std::vector<int32_t>& ids) const override {
    if (text.empty()) return;
    const std::string marked = mark_spaces(text);
    std::vector<Symbol> symbols;
    for (size_t at = 0; at < marked.size();) {
      const size_t size = utf8_step(marked, at).size;
      const std::string_view bytes = std::string_view(marked).substr(at, size);
      append_symbol(symbols, find(bytes), bytes);
      at += size;
    }
    merge_symbols(symbols, [&](const Symbol& left, const Symbol& right) {
      const int32_t id = find({left.bytes.data(), left.bytes.size() + right.bytes.size()});
      return id < 0 ? Merge{}
                    : Merge{-static_cast<double>(spec_.scores[static_cast<size_t>(id)]), id};
    });
    for (const Symbol& symbol : symbols)
      if (!symbol.bytes.empty()) append_ids(symbol, ids);
  }

 private:
  std::string mark_spaces(std::string_view text) const {
    std::string marked(spec_.add_space_prefix ? kSpaceMark : "");
    for (const char c : text) {
      if (c == ' ')
        marked += kSpaceMark;
      else
        marked += c;
    }
    return marked;
  }

  int32_t find(std::string_view text) const {
    if (text.size() > longest_) return -1;
    const auto it = tokens_.find(text);
    return it == tokens_.end() ? -1 : it->second;
  }

  void append_ids(const Symbol& symbol, std::vector<int32_t>& ids) const {
    if (symbol.id >= 0) return ids.push_back(symbol.id);
    for (const char c : symbol.bytes)
      if (const int32_t id = byte_ids_[static_cast<unsigned char>(c)]; id >= 0) ids.push_back(id);
  }

  const TokenizerSpec& spec_;
  std::unordered_map<std::string_view, int32_t> tokens_;
  size_t longest_ = 0;
  std::array<int32_t, 256> byte_ids_{};
};

}  // namespace

int byte_of_token(const TokenizerSpec& spec, size_t id) {
  const std::string& text = spec.tokens[id];
  if (!spec.types.empty() && spec.types[id] != kByteToken) return -1;
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  int byte = 0;
  const auto [end, error] = std::from_chars(text.data() + 3, text.data() + 5, byte, 16);
  return error == std::errc() && end == text.data() + 5 ? byte : -1;
}

Result<std::unique_ptr<TextEncoder>> make_spm_encoder(const TokenizerSpec& spec) {
  if (spec.scores.size() != spec.tokens.size())
    return bad_input("the tokenizer has {} scores, {} tokens need one each", spec.scores.size(),
                     spec.tokens.size());
  for (size_t id = 0; id < spec.scores.size(); ++id)
    if (std::isnan(spec.scores[id])) return bad_input("the score of token {} is not a number", id);
  return std::make_unique<SpmEncoder>(spec);
}

}  // namespace kvkeep
