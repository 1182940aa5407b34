// A model of random weights whose attention has the shape of a real one: 8 layers of 32 query heads
// on 8 kv heads of 128 channels, between hidden rows of 128 channels. What it says is noise; what a
// decode step costs at depth is attention, and that is what it is for.
#pragma once

#include <string>

#include "kvkeep/error.h"

namespace kvkeep::bench {

struct RandomModelShape {
  int layers = 8, q_heads = 32, kv_heads = 8, head_dim = 128;
  int dim = 128, ffn_dim = 128, context = 1 << 17;
};

// The bytes of a GGUF file that this engine and llama.cpp read: architecture llama, f16 weights, a
// SentencePiece vocabulary of the 256 bytes.
std::string random_model(const RandomModelShape& shape);

// A file in the folder for temporary files, removed with the object.
class TemporaryFile {
 public:
  static Result<TemporaryFile> make(const std::string& bytes, const std::string& suffix);
  ~TemporaryFile();
  TemporaryFile(TemporaryFile&& other) noexcept : path_(std::move(other.path_)) {
    other.path_.clear();
  }
  TemporaryFile& operator=(TemporaryFile&&) = delete;

  const std::string& path() const { return path_; }

 private:
  explicit TemporaryFile(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace kvkeep::bench
