// Cuts text into the pieces inside which a byte-level BPE may merge. A pre-tokenizer is one or more
// regular expressions (public facts of the model families); each cuts every piece of the stage
// before into its matches and what lies between them.
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
