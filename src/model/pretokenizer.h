// Cuts text into the pieces inside which a byte-level BPE may merge. A pre-tokenizer is one or more
// regular expressions (public facts of the model families); each cuts every piece of the stage
// before into its matches and what lies between them.
//
// Letters and digits are those of the Unicode version of the installed PCRE2 (14 in 10.42), and for
// all its characters the pieces are those of the `tokenizers` package; a letter newer than that
// counts as a symbol.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kvkeep/error.h"

namespace kvkeep {

class Pretokenizer {
 public:
  // "gpt-2", "llama-bpe", "qwen2", "smollm", "default"; an unknown name is refused with this list.
  static Result<Pretokenizer> make(std::string_view name);
  Pretokenizer(Pretokenizer&&) noexcept;
  Pretokenizer& operator=(Pretokenizer&&) noexcept;
  ~Pretokenizer();

  // Appends the pieces of valid UTF-8 in order; together they are the whole text, none is empty.
  // Safe to call from several threads at once.
  void split(std::string_view text, std::vector<std::string_view>& pieces) const;

 private:
  class Stage;
  Pretokenizer();
  std::vector<Stage> stages_;
};

}  // namespace kvkeep
