#include "model/unicode.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace kvkeep {
namespace {

constexpr uint32_t kReplacement = 0xfffd;

// What a lead byte promises: continuation bytes, payload bits, and the bounds of the first
// continuation byte (they exclude overlong forms, surrogates and code points past U+10FFFF).
struct Lead {
  size_t continuations;
  uint32_t payload;
  unsigned char low, high;
};

Lead classify(unsigned char byte) {
  if (byte < 0xc2 || byte > 0xf4) return {0, 0, 0, 0};
  if (byte < 0xe0) return {1, byte & 0x1fu, 0x80, 0xbf};
  if (byte < 0xf0) {
    const unsigned char low = byte == 0xe0 ? 0xa0 : 0x80, high = byte == 0xed ? 0x9f : 0xbf;
    return {2, byte & 0x0fu, low, high};
  }
  const unsigned char low = byte == 0xf0 ? 0x90 : 0x80, high = byte == 0xf4 ? 0x8f : 0xbf;
  return {3, byte & 0x07u, low, high};
}

constexpr bool prints(uint32_t byte) {
  return (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
}

// Code point of every byte in GPT-2's alphabet.
constexpr std::array<uint32_t, 256> make_alphabet() {
  std::array<uint32_t, 256> alphabet{};
  uint32_t next = 256;
  for (uint32_t byte = 0; byte < 256; ++byte) alphabet[byte] = prints(byte) ? byte : next++;
  return alphabet;
}

constexpr std::array<uint32_t, 256> kAlphabet = make_alphabet();

}  // namespace

Utf8Step utf8_step(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(at) < 0x80) return {byte(at), 1, true};
  const Lead lead = classify(byte(at));
  if (lead.continuations == 0) return {kReplacement, 1, false};
  uint32_t code = lead.payload;
  unsigned char low = lead.low, high = lead.high;
  for (size_t i = 1; i <= lead.continuations; ++i) {
    if (at + i >= text.size() || byte(at + i) < low || byte(at + i) > high)
      return {kReplacement, i, false};
    code = code << 6 | (byte(at + i) & 0x3fu);
    low = 0x80;
    high = 0xbf;
  }
  return {code, lead.continuations + 1, true};
}

bool is_valid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    if (!step.valid) return false;
    at += step.size;
  }
  return true;
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    if (step.valid)
      out += text.substr(at, step.size);
    else
      append_utf8(out, kReplacement);
    at += step.size;
  }
  return out;
}

void append_utf8(std::string& out, uint32_t code) {
  const auto put = [&](uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xc0 | code >> 6);
  } else {
    if (code < 0x10000) {
      put(0xe0 | code >> 12);
    } else {
      put(0xf0 | code >> 18);
      put(0x80 | (code >> 12 & 0x3f));
    }
    put(0x80 | (code >> 6 & 0x3f));
  }
  put(0x80 | (code & 0x3f));
}

std::string printable(std::string_view text) {
  constexpr size_t kMost = 80;
  std::string out;
  for (const char c : text.substr(0, kMost)) {
    if (c >= 0x20 && c < 0x7f)
      out += c;
    else
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  if (text.size() > kMost) out += "...";
  return out;
}

std::string byte_symbol(uint8_t byte) {
  std::string out;
  append_utf8(out, kAlphabet[byte]);
  return out;
}

std::string bytes_of_symbols(std::string_view token) {
  std::string out;
  for (size_t at = 0; at < token.size();) {
    const Utf8Step step = utf8_step(token, at);
    const auto* found = std::find(kAlphabet.begin(), kAlphabet.end(), step.code);
    if (step.valid && found != kAlphabet.end())
      out += static_cast<char>(found - kAlphabet.begin());
    else
      out += token.substr(at, step.size);
    at += step.size;
  }
  return out;
}

}  // namespace kvkeep
