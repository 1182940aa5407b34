// Any bytes become tokens and come back with their invalid UTF-8 repaired, whatever the family; and
// any vocabulary is refused with a line or encodes whatever text it gets. The first byte chooses.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "model/tokenizer.h"
#include "model/unicode.h"

namespace {

using kvkeep::Tokenizer;
using kvkeep::TokenizerSpec;

// A vocabulary of the 256 bytes and a few merges.
TokenizerSpec byte_level(const char* pre) {
  TokenizerSpec spec;
  spec.model = "gpt2";
  spec.pre = pre;
  for (int byte = 0; byte < 256; ++byte)
    spec.tokens.push_back(kvkeep::byte_symbol(static_cast<uint8_t>(byte)));
  for (const char* merge :
       {"h e", "t h", "th e", "i n", "a n", "1 2", "\xc4\xa0 t", "\xc4\xa0t he"}) {
    const std::string text = merge;
    const size_t space = text.find(' ');
    spec.merges.push_back(text);
    spec.tokens.push_back(text.substr(0, space) + text.substr(space + 1));
  }
  spec.types.assign(spec.tokens.size(), 1);
  return spec;
}

TokenizerSpec sentence_piece() {
  TokenizerSpec spec;
  spec.model = "llama";
  for (int byte = 0; byte < 256; ++byte) spec.tokens.push_back(fmt::format("<0x{:02X}>", byte));
  spec.types.assign(256, 6);
  for (const char* token : {"\xe2\x96\x81", "\xe2\x96\x81\xe2\x96\x81", "t", "h", "th", "a", "aa"})
    spec.tokens.push_back(token);
  spec.types.resize(spec.tokens.size(), 1);
  for (size_t id = 0; id < spec.tokens.size(); ++id)
    spec.scores.push_back(-static_cast<float>(id % 260));
  return spec;
}

const std::vector<Tokenizer>& tokenizers() {
  static const auto* made = [] {
    auto* list = new std::vector<Tokenizer>;
    for (const char* pre : {"default", "gpt-2", "llama-bpe", "qwen2", "smollm"})
      list->push_back(Tokenizer::make(byte_level(pre)).value());
    list->push_back(Tokenizer::make(sentence_piece()).value());
    return list;
  }();
  return *made;
}

std::vector<std::string> lines(std::string_view text) {
  std::vector<std::string> result;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    result.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return result;
}

// Lines are tokens whose first byte gives type and score; after an empty line come the merges.
void use_any_vocabulary(std::string_view input) {
  TokenizerSpec spec;
  spec.model = input.starts_with('l') ? "llama" : "gpt2";
  bool merges = false;
  for (const std::string& line : lines(input)) {
    if (line.empty()) {
      merges = true;
    } else if (merges) {
      spec.merges.push_back(line);
    } else {
      spec.types.push_back(static_cast<unsigned char>(line[0]) % 8);
      spec.scores.push_back(static_cast<float>(static_cast<unsigned char>(line[0]) / 8));
      spec.tokens.push_back(line.substr(1));
    }
  }
  const auto made = Tokenizer::make(spec);
  if (!made) {
    KVKEEP_CHECK(made.error().message.find('\n') == std::string::npos, "more than one line");
    return;
  }
  for (const int32_t id : made->encode(input, true, true))
    KVKEEP_CHECK(id >= 0 && id < made->vocab_size(), "id {}", id);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t which = data[0] % (tokenizers().size() + 1);
  if (which == tokenizers().size()) {
    use_any_vocabulary(text);
    return 0;
  }
  const Tokenizer& tokenizer = tokenizers()[which];
  const std::string back = tokenizer.decode(tokenizer.encode(text));
  // SentencePiece itself does not tell U+2581 from a space.
  if (which + 1 == tokenizers().size() && text.find("\xe2\x96\x81") != std::string::npos) return 0;
  KVKEEP_CHECK(back == kvkeep::replace_invalid_utf8(text), "{} bytes changed", text.size());
  return 0;
}
