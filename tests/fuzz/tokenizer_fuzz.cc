// Any bytes become tokens, and a byte-level vocabulary gives the same bytes back.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "model/tokenizer.h"

namespace {

using kvkeep::Tokenizer;
using kvkeep::TokenizerSpec;

std::string utf8(uint32_t code) {
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xc0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3f))};
}

// GPT-2's printable alphabet: bytes that print stand for themselves, the others follow from 256.
TokenizerSpec byte_level(const char* pre) {
  TokenizerSpec spec;
  spec.model = "gpt2";
  spec.pre = pre;
  uint32_t next = 256;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool prints = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte != 0xad);
    spec.tokens.push_back(utf8(prints ? byte : next++));
  }
  for (const char* merge : {"t h", "th e", "i n", "a n", "1 2", "Ġ t", "Ġt he"}) {
    const std::string text = merge;
    const size_t space = text.find(' ');
    spec.merges.push_back(text);
    spec.tokens.push_back(text.substr(0, space) + text.substr(space + 1));
  }
  spec.types.assign(spec.tokens.size(), 1);
  return spec;
}

const Tokenizer& tokenizer(size_t which) {
  static const auto* made = [] {
    auto* list = new std::vector<Tokenizer>;
    for (const char* pre : {"default", "gpt-2", "llama-bpe", "qwen2", "smollm"}) {
      auto one = Tokenizer::make(byte_level(pre));
      KVKEEP_CHECK(one.has_value(), "{}: {}", pre, one.error().message);
      list->push_back(std::move(*one));
    }
    return list;
  }();
  return (*made)[which % made->size()];
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Tokenizer& t = tokenizer(data[0]);
  KVKEEP_CHECK(t.decode(t.encode(text)) == text, "the text of {} bytes changed", text.size());
  return 0;
}
