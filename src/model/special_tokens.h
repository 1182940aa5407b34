// Finds tokens that stand for themselves wherever they are spelled: control tokens where the caller
// wants them, user-defined tokens always. Leftmost first, longest among those that start together.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace kvkeep {

struct TokenizerSpec;

class SpecialTokens {
 public:
  // Views into the spec, which must stay where it is.
  explicit SpecialTokens(const TokenizerSpec& spec);

  struct Part {
    std::string_view text;
    int32_t id;  // -1: plain text
  };
  std::vector<Part> split(std::string_view text, bool with_control) const;

 private:
  struct Token {
    std::string_view text;
    int32_t id;
    bool control;
  };
  const Token* find(std::string_view text, bool with_control) const;

  std::array<std::vector<Token>, 256> by_first_byte_;  // longest first
};

}  // namespace kvkeep
