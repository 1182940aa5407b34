// Tests only: the small models and reference logits under tests/golden (make_logits_golden.py), and
// copies of their bytes that a test may damage.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "model/gguf.h"
#include "model/transformer.h"

namespace kvkeep {

inline std::string golden_path(const std::string& file) {
  return std::string(KVKEEP_SOURCE_DIR) + "/tests/golden/" + file;
}
inline std::string embedded_model_path() {
  return std::string(KVKEEP_SOURCE_DIR) + "/models/kvkeep-5m-f16.gguf";
}

struct GoldenLogits {
  std::vector<int32_t> tokens, positions;
  int vocab = 0;
  std::vector<float> logits;  // [positions][vocab]
};

inline GoldenLogits read_golden_logits(const std::string& path) {
  const std::string bytes = read_file(path).value();
  const char* at = bytes.data();
  const auto take = [&](void* to, size_t size) {
    ASSERT_LE(at + size, bytes.data() + bytes.size()) << path;
    std::memcpy(to, at, size);
    at += size;
  };
  int32_t counts[3];
  take(counts, sizeof counts);
  GoldenLogits golden;
  golden.tokens.resize(static_cast<size_t>(counts[0]));
  golden.positions.resize(static_cast<size_t>(counts[1]));
  golden.vocab = counts[2];
  golden.logits.resize(golden.positions.size() * static_cast<size_t>(counts[2]));
  take(golden.tokens.data(), golden.tokens.size() * sizeof(int32_t));
  take(golden.positions.data(), golden.positions.size() * sizeof(int32_t));
  take(golden.logits.data(), golden.logits.size() * sizeof(float));
  return golden;
}

// A golden model file in memory whose bytes can be changed before it is opened.
class EditedModel {
 public:
  explicit EditedModel(const std::string& file) : bytes_(read_file(golden_path(file)).value()) {}

  // The first `from` becomes `to`, of the same length.
  EditedModel& replace(std::string_view from, std::string_view to) {
    EXPECT_EQ(from.size(), to.size());
    const size_t at = bytes_.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    bytes_.replace(at, to.size(), to);
    return *this;
  }
  // The 32-bit value of a metadata key: it follows the key and four bytes of type.
  EditedModel& set(std::string_view key, uint32_t value) {
    const size_t at = bytes_.find(key);
    EXPECT_NE(at, std::string::npos) << key;
    std::memcpy(bytes_.data() + at + key.size() + 4, &value, sizeof value);
    return *this;
  }
  std::string& bytes() { return bytes_; }

  Result<Gguf> open() const {
    return Gguf::parse(std::as_bytes(std::span(bytes_.data(), bytes_.size())), "edited.gguf");
  }
  // The message with which the model is refused.
  std::string error() const {
    Result<Gguf> file = open();
    if (!file) return file.error().message;
    auto model = Transformer::make(std::make_shared<const Gguf>(std::move(*file)));
    if (model) return "none";
    EXPECT_EQ(model.error().code, ErrorCode::bad_input);
    EXPECT_EQ(model.error().message.find('\n'), std::string::npos);
    return model.error().message;
  }

 private:
  std::string bytes_;
};

}  // namespace kvkeep
