// A language model read from a GGUF file, with its tokenizer. Immutable and shared: any number of
// sessions on any threads may use one Model.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kvkeep/error.h"

namespace kvkeep {

class Transformer;

struct ModelInfo {
  std::string path, name, architecture;
  int layers = 0, q_heads = 0, kv_heads = 0, head_dim = 0, dim = 0, vocab = 0, context = 0;
  int64_t parameters = 0;
  size_t weight_bytes = 0;
  uint64_t fingerprint = 0;  // of configuration and weights
};

class Model {
 public:
  static Result<Model> load(const std::string& path);

  const ModelInfo& info() const { return info_; }
  // add_bos: put the begin-of-sequence token in front, if the model has one.
  std::vector<int32_t> encode(std::string_view text, bool add_bos) const;
  std::string decode(const std::vector<int32_t>& tokens) const;
  bool adds_bos() const;  // what the model file asks for
  int eos() const;        // -1 when there is none

  const std::shared_ptr<const Transformer>& transformer() const { return transformer_; }

 private:
  ModelInfo info_;
  std::shared_ptr<const Transformer> transformer_;
};

}  // namespace kvkeep
