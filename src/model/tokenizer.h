// Text to token ids and back, from GGUF metadata: byte-level BPE (`gpt2`) with its pre-tokenizers,
// and SentencePiece-style merging with byte fallback (`llama`).
//
// Input is bytes, and invalid UTF-8 is tokenized, not refused: each invalid sequence counts as
// U+FFFD, exactly where Python's bytes.decode("utf-8", "replace") puts one. Ids are therefore those
// of the `tokenizers` package, which sees text only after that step, and decode(encode(x)) is
// replace_invalid_utf8(x) (unicode.h): x itself whenever x is valid. (`llama` writes spaces as
// U+2581, so a U+2581 of the text comes back as a space.)
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kvkeep/error.h"

namespace kvkeep {

class Gguf;

// The metadata a tokenizer is built from (keys tokenizer.ggml.*).
struct TokenizerSpec {
  std::string model;                // "gpt2" or "llama"
  std::string pre = "default";      // "gpt-2", "llama-bpe", "qwen2", "smollm", "default"
  std::vector<std::string> tokens;  // [vocab]; byte-level BPE in GPT-2's printable alphabet
  std::vector<std::string> merges;  // "left right", best first; gpt2 only
  std::vector<float> scores;        // [vocab]; llama only
  std::vector<int> types;  // 1 normal, 2 unknown, 3 control, 4 user, 5 unused, 6 byte; or empty
  int bos = -1, eos = -1, unknown = -1;
  bool add_bos = false, add_space_prefix = true;
  std::string source;  // the file all this came from, for messages; may be empty
};

Result<TokenizerSpec> read_tokenizer_spec(const Gguf& file);

// Immutable: all calls may run at once on several threads.
class Tokenizer {
 public:
  static Result<Tokenizer> make(TokenizerSpec spec);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Token ids of `text`. Control tokens spelled in the text (<|endoftext|>) become their id only
  // with parse_special, user-defined tokens always; BOS is put in front only with add_bos (see
  // adds_bos()). `llama` puts a space before each stretch of plain text (add_space_prefix).
  std::vector<int32_t> encode(std::string_view text, bool add_bos = false,
                              bool parse_special = false) const;
  // Bytes of the ids; control tokens print nothing. Ids outside the vocabulary are skipped. Where
  // encode() puts a space in front, decode() drops one; token_bytes() never does.
  std::string decode(const std::vector<int32_t>& ids) const;
  std::string token_bytes(int32_t id) const;

  int vocab_size() const;
  int bos() const;  // -1 when there is none
  int eos() const;
  bool adds_bos() const;  // what the model file asks for

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvkeep
