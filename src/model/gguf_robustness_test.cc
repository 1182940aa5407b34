// Damaged model files: whatever the bytes, a value or one line, never a crash. The sanitizer builds
// see every byte read outside the file, because each damaged copy has a heap block of its own size.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/file.h"
#include "base/rng.h"
#include "model/config.h"
#include "model/gguf.h"
#include "model/tokenizer.h"

namespace kvkeep {
namespace {

using Bytes = std::vector<std::byte>;

Bytes load(const std::string& path) {
  const auto file = MappedFile::open(std::string(KVKEEP_SOURCE_DIR) + "/" + path);
  const auto bytes = file.value().bytes();
  return {bytes.begin(), bytes.end()};
}

void expect_one_line(const Error& error) {
  EXPECT_EQ(error.code, ErrorCode::bad_input);
  EXPECT_FALSE(error.message.empty());
  for (const char c : error.message)
    ASSERT_TRUE(static_cast<unsigned char>(c) >= 0x20) << error.message;
}

// Whether the bytes open; with `deep`, everything built from them is tried too.
bool try_open(const Bytes& bytes, bool deep) {
  const auto file = Gguf::parse(bytes, "m.gguf");
  if (!file) {
    expect_one_line(file.error());
    return false;
  }
  for (const Tensor& tensor : file->tensors()) {
    const BlockSize block = tensor_block_size(tensor.type);
    std::vector<float> values(static_cast<size_t>(block.values));
    dequantize(tensor.type, tensor.data.data(), values.data(), block.values);
    dequantize(tensor.type, &tensor.data.back() - block.bytes + 1, values.data(), block.values);
  }
  if (!deep) return true;
  if (const auto config = read_config(*file); !config) expect_one_line(config.error());
  const auto spec = read_tokenizer_spec(*file);
  if (!spec) {
    expect_one_line(spec.error());
    return true;
  }
  const auto tokenizer = Tokenizer::make(*spec);
  if (!tokenizer) expect_one_line(tokenizer.error());
  return true;
}

// Bytes before the tensors' data.
size_t header_bytes(const Bytes& bytes) {
  const auto file = Gguf::parse(bytes, "m.gguf");
  size_t first = bytes.size();
  for (const Tensor& tensor : file->tensors())
    first = std::min(first, static_cast<size_t>(tensor.data.data() - bytes.data()));
  return first;
}

const char* const kModels[] = {"models/kvkeep-5m-f16.gguf", "tests/golden/llama-gqa.gguf"};

TEST(GgufRobustness, TruncatedFilesAreRefused) {
  for (const char* path : kModels) {
    const Bytes whole = load(path);
    ASSERT_TRUE(try_open(whole, true));
    const size_t header = header_bytes(whole);
    for (size_t size = 0; size < std::min(header + 1000, whole.size()); size += 97)
      ASSERT_FALSE(
          try_open({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)}, false))
          << path << " cut to " << size;
    for (size_t left = 1; left < 98; left += 16)
      ASSERT_FALSE(
          try_open({whole.begin(), whole.end() - static_cast<std::ptrdiff_t>(left)}, false));
  }
}

TEST(GgufRobustness, BitFlipsInTheHeaderNeverCrash) {
  for (const char* path : kModels) {
    const Bytes whole = load(path);
    const size_t header = header_bytes(whole);
    Rng rng(5);
    Bytes bytes = whole;
    for (int flip = 0; flip < 4000; ++flip) {
      const size_t near = flip % 2 ? header : std::min<size_t>(header, 600);
      const size_t at = rng.below(near);
      const auto mask = static_cast<std::byte>(1u << rng.below(8));
      bytes[at] ^= mask;
      try_open(bytes, flip % 8 == 0);
      bytes[at] ^= mask;
    }
  }
}

TEST(GgufRobustness, AbsurdNumbersInTheHeaderNeverCrash) {
  const Bytes whole = load(kModels[1]);
  const size_t header = header_bytes(whole);
  Bytes bytes = whole;
  Rng rng(6);
  for (int i = 0; i < 3000; ++i) {
    const size_t at = rng.below(header - 8);
    const std::byte value = rng.below(2) ? std::byte{0xff} : std::byte{0x7f};
    const size_t width = size_t{1} << rng.below(4);
    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), width, value);
    try_open(bytes, i % 8 == 0);
    std::copy_n(whole.begin() + static_cast<std::ptrdiff_t>(at), width,
                bytes.begin() + static_cast<std::ptrdiff_t>(at));
  }
}

}  // namespace
}  // namespace kvkeep
