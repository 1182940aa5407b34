#include "eval/bench/random_model.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/fail.h"
#include "base/half.h"
#include "base/rng.h"

namespace kvkeep::bench {
namespace {

constexpr size_t kAlignment = 32;
constexpr int kSpecialTokens = 3, kVocab = kSpecialTokens + 256;

// A GGUF file: metadata, then the list of tensors, then their data.
class Writer {
 public:
  enum Type : uint32_t { kU32 = 4, kI32 = 5, kF32 = 6, kText = 8, kArray = 9 };

  void number(const std::string& name, uint32_t value) { key(name, kU32), put(&meta_, value); }
  void real(const std::string& name, float value) { key(name, kF32), put(&meta_, value); }
  void text(const std::string& name, const std::string& value) {
    key(name, kText), put_text(&meta_, value);
  }
  void texts(const std::string& name, const std::vector<std::string>& values) {
    array(name, kText, values.size());
    for (const auto& value : values) put_text(&meta_, value);
  }
  template <class T>
  void numbers(const std::string& name, Type type, const std::vector<T>& values) {
    array(name, type, values.size());
    for (const T& value : values) put(&meta_, value);
  }

  // columns values a row; type 0 is f32, 1 is f16.
  template <class T>
  void tensor(const std::string& name, uint32_t type, std::vector<uint64_t> shape,
              const std::vector<T>& values) {
    ++tensors_;
    put_text(&list_, name);
    put(&list_, static_cast<uint32_t>(shape.size()));
    for (uint64_t n : shape) put(&list_, n);
    put(&list_, type);
    put(&list_, static_cast<uint64_t>(data_.size()));
    data_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
    data_.append((kAlignment - data_.size() % kAlignment) % kAlignment, '\0');
  }

  std::string bytes() const {
    std::string all = "GGUF";
    put(&all, uint32_t{3});
    put(&all, tensors_);
    put(&all, keys_);
    all += meta_ + list_;
    all.append((kAlignment - all.size() % kAlignment) % kAlignment, '\0');
    return all + data_;
  }

 private:
  template <class T>
  static void put(std::string* to, T value) {
    to->append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  static void put_text(std::string* to, const std::string& value) {
    put(to, static_cast<uint64_t>(value.size()));
    *to += value;
  }
  void key(const std::string& name, uint32_t type) {
    ++keys_;
    put_text(&meta_, name);
    put(&meta_, type);
  }
  void array(const std::string& name, Type type, size_t count) {
    key(name, kArray);
    put(&meta_, static_cast<uint32_t>(type));
    put(&meta_, static_cast<uint64_t>(count));
  }

  std::string meta_, list_, data_;
  uint64_t keys_ = 0, tensors_ = 0;
};

void write_tokenizer(Writer* out) {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types = {2, 3, 3};  // unknown, control
  for (int byte = 0; byte < 256; ++byte) {
    tokens.push_back(fmt::format("<0x{:02X}>", byte));
    types.push_back(6);  // a byte
  }
  out->text("tokenizer.ggml.model", "llama");
  out->texts("tokenizer.ggml.tokens", tokens);
  out->numbers("tokenizer.ggml.scores", Writer::kF32, std::vector<float>(tokens.size(), 0.0f));
  out->numbers("tokenizer.ggml.token_type", Writer::kI32, types);
  out->number("tokenizer.ggml.unknown_token_id", 0);
  out->number("tokenizer.ggml.bos_token_id", 1);
  out->number("tokenizer.ggml.eos_token_id", 2);
}

void write_config(const RandomModelShape& shape, Writer* out) {
  const auto number = [out](const char* name, int value) {
    out->number(std::string("llama.") + name, static_cast<uint32_t>(value));
  };
  out->text("general.architecture", "llama");
  out->text("general.name", "random weights");
  number("block_count", shape.layers);
  number("context_length", shape.context);
  number("embedding_length", shape.dim);
  number("feed_forward_length", shape.ffn_dim);
  number("attention.head_count", shape.q_heads);
  number("attention.head_count_kv", shape.kv_heads);
  number("attention.key_length", shape.head_dim);
  number("attention.value_length", shape.head_dim);
  number("rope.dimension_count", shape.head_dim);
  out->real("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  out->real("llama.rope.freq_base", 500000.0f);
}

}  // namespace

std::string random_model(const RandomModelShape& shape) {
  Writer out;
  Rng rng(7);
  write_config(shape, &out);
  write_tokenizer(&out);
  const auto norm = [&](const std::string& name) {
    out.tensor(name, 0, {static_cast<uint64_t>(shape.dim)},
               std::vector<float>(static_cast<size_t>(shape.dim), 1.0f));
  };
  // Rows of unit variance stay rows of unit variance.
  const auto matrix = [&](const std::string& name, int rows, int columns) {
    const float scale = 2 * std::sqrt(3.0f / static_cast<float>(columns));
    std::vector<uint16_t> words(static_cast<size_t>(rows) * static_cast<size_t>(columns));
    for (uint16_t& word : words) word = f32_to_f16(scale * (rng.uniform() - 0.5f));
    out.tensor(name, 1, {static_cast<uint64_t>(columns), static_cast<uint64_t>(rows)}, words);
  };
  const int q_dim = shape.q_heads * shape.head_dim, kv_dim = shape.kv_heads * shape.head_dim;
  matrix("token_embd.weight", kVocab, shape.dim);
  norm("output_norm.weight");
  for (int layer = 0; layer < shape.layers; ++layer) {
    const std::string at = fmt::format("blk.{}.", layer);
    norm(at + "attn_norm.weight");
    matrix(at + "attn_q.weight", q_dim, shape.dim);
    matrix(at + "attn_k.weight", kv_dim, shape.dim);
    matrix(at + "attn_v.weight", kv_dim, shape.dim);
    matrix(at + "attn_output.weight", shape.dim, q_dim);
    norm(at + "ffn_norm.weight");
    matrix(at + "ffn_gate.weight", shape.ffn_dim, shape.dim);
    matrix(at + "ffn_up.weight", shape.ffn_dim, shape.dim);
    matrix(at + "ffn_down.weight", shape.dim, shape.ffn_dim);
  }
  return out.bytes();
}

Result<TemporaryFile> TemporaryFile::make(const std::string& bytes, const std::string& suffix) {
  const char* folder = std::getenv("TMPDIR");
  std::string path = fmt::format("{}/kvkeep-XXXXXX{}", folder && *folder ? folder : "/tmp", suffix);
  const int file = ::mkstemps(path.data(), static_cast<int>(suffix.size()));
  if (file < 0) return failed("cannot make a file '{}': {}", path, std::strerror(errno));
  TemporaryFile made(path);
  size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t n = ::write(file, bytes.data() + written, bytes.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error = errno;
      ::close(file);
      return failed("cannot write '{}': {}", path, std::strerror(error));
    }
    written += static_cast<size_t>(n);
  }
  ::close(file);
  return made;
}

TemporaryFile::~TemporaryFile() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

}  // namespace kvkeep::bench
