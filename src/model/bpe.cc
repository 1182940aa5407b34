// Byte-level BPE: text is cut by the pre-tokenizer, every piece starts as its bytes, and the merge
// of lowest rank is applied until none is left.
#include <array>
#include <unordered_map>
#include <utility>

#include "base/fail.h"
#include "model/merge_symbols.h"
#include "model/pretokenizer.h"
#include "model/text_encoder.h"
#include "model/tokenizer.h"
#include "model/unicode.h"

namespace kvkeep {
namespace {

using TokenMap = std::unordered_map<std::string_view, int32_t>;

struct PairHash {
  size_t operator()(uint64_t pair) const {
    const uint64_t mixed = pair * 0x9e3779b97f4a7c15ull;
    return static_cast<size_t>(mixed ^ mixed >> 32);
  }
};
using MergeMap = std::unordered_map<uint64_t, Merge, PairHash>;

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

int32_t find_token(const TokenMap& tokens, std::string_view text) {
  const auto it = tokens.find(text);
  return it == tokens.end() ? -1 : it->second;
}

// "left right" to the pair and what it gives; all three must be tokens.
Result<void> add_merge(const TokenMap& tokens, std::string_view text, size_t rank,
                       MergeMap& merges) {
  const size_t space = text.find(' ');
  if (space == 0 || space == std::string_view::npos || space + 1 == text.size())
    return bad_input("merge {} is '{}', 'left right' is needed", rank, printable(text));
  const std::string_view left = text.substr(0, space), right = text.substr(space + 1);
  const std::string whole = std::string(left) + std::string(right);
  const int32_t left_id = find_token(tokens, left), right_id = find_token(tokens, right);
  const int32_t id = find_token(tokens, whole);
  if (left_id < 0 || right_id < 0 || id < 0)
    return bad_input("merge {} is '{}', but the vocabulary has no '{}'", rank, printable(text),
                     printable(left_id < 0    ? left
                               : right_id < 0 ? right
                                              : whole));
  merges.emplace(pair_key(left_id, right_id), Merge{static_cast<double>(rank), id});
  return {};
}

class BpeEncoder final : public TextEncoder {
 public:
  BpeEncoder(Pretokenizer pretokenizer, bool whole_pieces, int32_t unknown)
      : pretokenizer_(std::move(pretokenizer)), whole_pieces_(whole_pieces), unknown_(unknown) {}

  Result<void> load(const TokenizerSpec& spec) {
    TokenMap symbols;
    for (size_t id = 0; id < spec.tokens.size(); ++id)
      symbols.emplace(spec.tokens[id], static_cast<int32_t>(id));
    for (size_t byte = 0; byte < byte_ids_.size(); ++byte)
      byte_ids_[byte] = find_token(symbols, byte_symbol(static_cast<uint8_t>(byte)));
    merges_.reserve(spec.merges.size());
    for (size_t rank = 0; rank < spec.merges.size(); ++rank)
      KVKEEP_TRY(add_merge(symbols, spec.merges[rank], rank, merges_));
    if (!whole_pieces_) return {};
    for (size_t id = 0; id < spec.tokens.size(); ++id)
      if (spec.types.empty() || spec.types[id] == kNormalToken)
        whole_.emplace(bytes_of_symbols(spec.tokens[id]), static_cast<int32_t>(id));
    return {};
  }

  void encode(std::string_view text, std::vector<int32_t>& ids) const override {
    std::vector<std::string_view> pieces;
    pretokenizer_.split(text, pieces);
    // Pieces repeat: the ids of the first occurrence are copied from where they stand in `ids`.
    std::unordered_map<std::string_view, std::pair<size_t, size_t>> seen;
    std::vector<Symbol> symbols;
    for (const std::string_view piece : pieces) {
      const size_t begin = ids.size();
      const auto [it, is_new] = seen.try_emplace(piece, begin, begin);
      if (is_new) {
        encode_piece(piece, symbols, ids);
        it->second.second = ids.size();
      } else {
        for (size_t i = it->second.first; i < it->second.second; ++i) ids.push_back(ids[i]);
      }
    }
  }

 private:
  void encode_piece(std::string_view piece, std::vector<Symbol>& symbols,
                    std::vector<int32_t>& ids) const {
    if (whole_pieces_) {
      const auto it = whole_.find(std::string(piece));
      if (it != whole_.end()) return ids.push_back(it->second);
    }
    symbols.clear();
    for (size_t i = 0; i < piece.size(); ++i) {
      const int32_t id = byte_ids_[static_cast<unsigned char>(piece[i])];
      if (id >= 0 || unknown_ >= 0) append_symbol(symbols, id, piece.substr(i, 1));
    }
    merge_symbols(symbols, [&](const Symbol& left, const Symbol& right) {
      const auto it = merges_.find(pair_key(left.id, right.id));
      return it == merges_.end() ? Merge{} : it->second;
    });
    for (const Symbol& symbol : symbols)
      if (!symbol.bytes.empty()) ids.push_back(symbol.id >= 0 ? symbol.id : unknown_);
  }

  Pretokenizer pretokenizer_;
  bool whole_pieces_;  // a piece that is a token stays whole, whatever the merges say
  int32_t unknown_;
  std::array<int32_t, 256> byte_ids_{};
  MergeMap merges_;
  std::unordered_map<std::string, int32_t> whole_;
};

}  // namespace

Result<std::unique_ptr<TextEncoder>> make_bpe_encoder(const TokenizerSpec& spec) {
  auto pretokenizer = Pretokenizer::make(spec.pre);
  if (!pretokenizer) return tl::unexpected(std::move(pretokenizer).error());
  const bool whole_pieces = spec.pre == "llama-bpe";
  auto encoder = std::make_unique<BpeEncoder>(std::move(*pretokenizer), whole_pieces, spec.unknown);
  KVKEEP_TRY(encoder->load(spec));
  return encoder;
}

}  // namespace kvkeep
