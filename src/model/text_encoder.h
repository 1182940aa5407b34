// What the two families of tokenizers have in common: valid UTF-8 without special tokens in it
// becomes ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "kvkeep/error.h"

namespace kvkeep {

struct TokenizerSpec;

// TokenizerSpec::types
constexpr int kNormalToken = 1, kUnknownToken = 2, kControlToken = 3, kUserToken = 4,
              kUnusedToken = 5, kByteToken = 6;

// The byte that a SentencePiece token such as "<0x0A>" stands for, or -1.
int byte_of_token(const TokenizerSpec& spec, size_t id);
constexpr std::string_view kSpaceMark = "\xe2\x96\x81";  // U+2581, SentencePiece's space

class TextEncoder {
 public:
  virtual ~TextEncoder() = default;
  // Appends the ids of `text`. Safe to call from several threads at once.
  virtual void encode(std::string_view text, std::vector<int32_t>& ids) const = 0;
};

// The spec must outlive the encoder and stay where it is: the vocabularies hold views of it.
Result<std::unique_ptr<TextEncoder>> make_bpe_encoder(const TokenizerSpec& spec);
Result<std::unique_ptr<TextEncoder>> make_spm_encoder(const TokenizerSpec& spec);

}  // namespace kvkeep
