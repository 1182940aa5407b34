// Any bytes either open as a model file, every promise of which then holds, or give one line.
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "base/check.h"
#include "model/config.h"
#include "model/gguf.h"
#include "model/tokenizer.h"

namespace {

// Reads what a tensor says it has: the sanitizer sees any byte outside the file.
void touch(const kvkeep::Tensor& tensor) {
  const kvkeep::BlockSize block = kvkeep::tensor_block_size(tensor.type);
  const auto blocks = static_cast<int64_t>(tensor.data.size()) / block.bytes;
  std::vector<float> values(static_cast<size_t>(block.values));
  for (int64_t i = 0; i < std::min<int64_t>(blocks, 64); ++i)
    kvkeep::dequantize(tensor.type, tensor.data.data() + i * block.bytes, values.data(),
                       block.values);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = kvkeep::Gguf::parse(std::as_bytes(std::span(data, size)), "fuzz");
  if (!file) {
    KVKEEP_CHECK(file.error().message.find('\n') == std::string::npos, "more than one line");
    return 0;
  }
  for (const kvkeep::Tensor& tensor : file->tensors()) touch(tensor);
  (void)kvkeep::read_config(*file);
  if (auto spec = kvkeep::read_tokenizer_spec(*file)) (void)kvkeep::Tokenizer::make(*spec);
  return 0;
}
