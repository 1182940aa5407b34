// GGUF v3 files, memory-mapped and distrusted: every count, length, offset and enum is checked
// before use, so that any file either opens completely or gives one line that names file, field,
// found and allowed. Format: the GGUF specification of the ggml project.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/file.h"
#include "kvkeep/error.h"

namespace kvkeep {

// ggml's numbers of the tensor types we read.
enum class TensorType : uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q8_0 = 8,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  bf16 = 30,
};
const char* tensor_type_name(TensorType type);
// Values in a block and its bytes: {32, 34} for q8_0, {1, 2} for f16.
struct BlockSize {
  int64_t values, bytes;
};
BlockSize tensor_block_size(TensorType type);
// Dequantizes n values (a multiple of the block's) to float32.
void dequantize(TensorType type, const std::byte* in, float* out, int64_t n);

struct Tensor {
  std::string name;
  TensorType type = TensorType::f32;
  std::vector<int64_t> shape;       // as GGUF: shape[0] is the contiguous dimension (columns)
  std::span<const std::byte> data;  // into the mapping
  int64_t columns() const { return shape.empty() ? 0 : shape[0]; }
  int64_t rows() const;  // product of the other dimensions
};

using GgufArray = std::variant<std::vector<int64_t>, std::vector<double>, std::vector<std::string>>;
using GgufValue = std::variant<int64_t, double, bool, std::string, GgufArray>;

class Gguf {
 public:
  static Result<Gguf> open(const std::string& path);
  // The same over bytes in memory (tests, fuzzing); they must outlive the object.
  static Result<Gguf> parse(std::span<const std::byte> bytes, const std::string& name);

  const std::string& path() const { return path_; }
  const std::map<std::string, GgufValue, std::less<>>& metadata() const { return metadata_; }
  const std::vector<Tensor>& tensors() const { return tensors_; }
  const Tensor* find(std::string_view name) const;  // nullptr when absent

  // bad_input if one of `keys` is present with another kind of value than named; absent is fine.
  enum class Kind { integer, number, boolean, text, integers };
  struct Expected {
    std::string_view key;
    Kind kind;
  };
  Result<void> expect(std::span<const Expected> keys) const;

  // Typed look-ups; a missing or mistyped key is an error unless a default is given
  // (expect() guards those).
  Result<int64_t> integer(std::string_view key) const;
  int64_t integer(std::string_view key, int64_t otherwise) const;
  double number(std::string_view key, double otherwise) const;
  bool boolean(std::string_view key, bool otherwise) const;
  Result<std::string> text(std::string_view key) const;
  std::string text(std::string_view key, std::string_view otherwise) const;
  const std::vector<std::string>* strings(std::string_view key) const;  // nullptr when absent
  const std::vector<int64_t>* integers(std::string_view key) const;
  const std::vector<double>* numbers(std::string_view key) const;

 private:
  std::string path_;
  std::vector<MappedFile> file_;  // empty or one
  std::map<std::string, GgufValue, std::less<>> metadata_;
  std::vector<Tensor> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
};

}  // namespace kvkeep
