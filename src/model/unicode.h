// UTF-8 as the model files and tokenizers need it: repair of invalid bytes, text for messages, and
// the alphabet in which byte-level vocabularies spell bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace kvkeep {

// One step through text that may be invalid. An invalid step covers the longest start of a
// well-formed sequence, or one byte (the "maximal subpart" of the Unicode standard, 3.9).
struct Utf8Step {
  uint32_t code;  // U+FFFD when invalid
  size_t size;
  bool valid;
};
Utf8Step utf8_step(std::string_view text, size_t at);  // at < text.size()

bool is_valid_utf8(std::string_view text);
// Every invalid step becomes U+FFFD: Python's bytes.decode("utf-8", "replace").
std::string replace_invalid_utf8(std::string_view text);
void append_utf8(std::string& out, uint32_t code);

// `text` as it may stand in a one-line message: control characters and bytes outside ASCII are
// escaped, and the text is cut after 80 bytes.
std::string printable(std::string_view text);

// GPT-2's alphabet: a byte that prints stands for itself as a code point, the other 68 follow from
// U+0100 (so a space is U+0120).
std::string byte_symbol(uint8_t byte);
// The bytes that `token` spells; code points outside the alphabet stand for their own UTF-8.
std::string bytes_of_symbols(std::string_view token);

}  // namespace kvkeep
