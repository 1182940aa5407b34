#include "model/config.h"

#include <cmath>
#include <optional>
#include <utility>

#include "base/fail.h"
#include "model/gguf.h"

namespace kvkeep {
namespace {

constexpr int kMaxLayers = 1024, kMaxDim = 1 << 16, kMaxHeads = 1024, kMaxHeadDim = 512;
constexpr int kMaxFfnDim = 1 << 20, kMaxVocab = 1 << 22, kMaxContext = 1 << 26;

// Reads bounded numbers under one architecture's prefix and keeps the first error.
class Reader {
 public:
  Reader(const Gguf& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

  int integer(const char* name, int low, int high, std::optional<int> otherwise = {}) {
    const std::string key = prefix_ + name;
    if (otherwise && !has(key)) return *otherwise;
    const Result<int64_t> found = file_.integer(key);
    if (!found) return fail(found.error());
    if (*found >= low && *found <= high) return static_cast<int>(*found);
    return fail(
        bad_input("'{}': {} is {}, allowed are {} to {}", file_.path(), key, *found, low, high)
            .value());
  }

  // A finite number in [low, high].
  float number(const char* name, double low, double high, std::optional<float> otherwise = {}) {
    const std::string key = prefix_ + name;
    if (otherwise && !has(key)) return *otherwise;
    const double found = file_.number(key, std::nan(""));
    if (found >= low && found <= high) return static_cast<float>(found);
    fail(bad_input("'{}': {} is {}, expected a number from {} to {}", file_.path(), key,
                   std::isnan(found) ? "missing or no number" : fmt::format("{}", found), low, high)
             .value());
    return 0;
  }

  void require(bool condition, const std::string& message) {
    if (!condition) fail(bad_input("'{}': {}", file_.path(), message).value());
  }

  bool has(const std::string& key) const { return file_.metadata().contains(key); }
  const std::optional<Error>& error() const { return error_; }

 private:
  int fail(const Error& error) {
    if (!error_) error_ = error;
    return 0;
  }

  const Gguf& file_;
  std::string prefix_;
  std::optional<Error> error_;
};

void read_shape(Reader& in, ModelConfig* c) {
  c->layers = in.integer("block_count", 1, kMaxLayers);
  c->dim = in.integer("embedding_length", 8, kMaxDim);
  c->ffn_dim = in.integer("feed_forward_length", 8, kMaxFfnDim);
  c->context = in.integer("context_length", 1, kMaxContext);
  c->q_heads = in.integer("attention.head_count", 1, kMaxHeads);
  c->kv_heads = in.integer("attention.head_count_kv", 1, kMaxHeads, c->q_heads);
  c->norm_eps = in.number("attention.layer_norm_rms_epsilon", 1e-12, 0.1);
  const int experts = in.integer("expert_count", 0, 1 << 20, 0);
  in.require(experts == 0,
             fmt::format("{} experts: mixtures of experts are not supported", experts));
  if (in.error()) return;
  c->head_dim = in.integer("attention.key_length", 8, kMaxHeadDim, c->dim / c->q_heads);
  const int value_length = in.integer("attention.value_length", 8, kMaxHeadDim, c->head_dim);
  in.require(c->head_dim % 8 == 0 && c->head_dim >= 8 && c->head_dim <= kMaxHeadDim,
             fmt::format("head_dim is {}, allowed are multiples of 8 from 8 to {}", c->head_dim,
                         kMaxHeadDim));
  in.require(value_length == c->head_dim,
             fmt::format("attention.value_length is {}, expected attention.key_length, {}",
                         value_length, c->head_dim));
  in.require(c->q_heads % c->kv_heads == 0,
             fmt::format("attention.head_count {} is not a multiple of attention.head_count_kv {}",
                         c->q_heads, c->kv_heads));
}

void read_rope(const Gguf& file, Reader& in, ModelConfig* c) {
  RopeConfig& rope = c->rope;
  rope.dim = in.integer("rope.dimension_count", 2, kMaxHeadDim, c->head_dim);
  rope.base = in.number("rope.freq_base", 1.0, 1e12, 10000.0f);
  rope.interleaved = c->architecture == "llama";
  in.require(rope.dim % 2 == 0 && rope.dim <= c->head_dim,
             fmt::format("rope.dimension_count is {}, allowed are even numbers up to head_dim {}",
                         rope.dim, c->head_dim));
  const std::string prefix = c->architecture + ".";
  // Files of 2023 carry rope.scale_linear alone.
  const bool old_linear = in.has(prefix + "rope.scale_linear");
  const bool linear = old_linear || in.has(prefix + "rope.scaling.factor");
  const std::string type = file.text(prefix + "rope.scaling.type", linear ? "linear" : "none");
  in.require(type == "none" || type == "linear",
             fmt::format("{}rope.scaling.type is '{}', allowed are none, linear, and llama3 as "
                         "tensor rope_freqs.weight",
                         prefix, type));
  if (type == "linear")
    rope.linear_factor =
        in.number(old_linear ? "rope.scale_linear" : "rope.scaling.factor", 1e-3, 1e6);
}

// The divisors of the frequencies, as the converters of Llama 3.1 store them.
Result<void> read_rope_factors(const Gguf& file, RopeConfig* rope) {
  const Tensor* tensor = file.find("rope_freqs.weight");
  if (tensor == nullptr) return {};
  const int64_t pairs = rope->dim / 2;
  if (tensor->type != TensorType::f32 || tensor->shape != std::vector<int64_t>{pairs})
    return bad_input("'{}': tensor rope_freqs.weight has type {} and shape [{}], expected f32 [{}]",
                     file.path(), tensor_type_name(tensor->type), fmt::join(tensor->shape, ", "),
                     pairs);
  rope->factors.resize(static_cast<size_t>(pairs));
  dequantize(tensor->type, tensor->data.data(), rope->factors.data(), pairs);
  for (float factor : rope->factors)
    if (!(factor >= 1e-6f && factor <= 1e6f))
      return bad_input("'{}': tensor rope_freqs.weight holds {}, allowed are 1e-6 to 1e6",
                       file.path(), factor);
  return {};
}

Result<void> read_vocab(const Gguf& file, ModelConfig* c) {
  const Tensor* embedding = file.find("token_embd.weight");
  if (embedding == nullptr)
    return bad_input("'{}': tensor token_embd.weight is missing", file.path());
  const int64_t rows = embedding->shape.size() == 2 ? embedding->shape[1] : 0;
  if (rows < 1 || rows > kMaxVocab)
    return bad_input("'{}': tensor token_embd.weight has shape [{}], expected [{}, 1 to {}]",
                     file.path(), fmt::join(embedding->shape, ", "), c->dim, kMaxVocab);
  c->vocab = static_cast<int>(rows);
  return {};
}

}  // namespace

Result<ModelConfig> read_config(const Gguf& file) {
  ModelConfig c;
  Result<std::string> architecture = file.text("general.architecture");
  if (!architecture) return tl::unexpected(std::move(architecture).error());
  c.architecture = std::move(*architecture);
  if (c.architecture != "llama" && c.architecture != "qwen2" && c.architecture != "qwen3")
    return bad_input("'{}': general.architecture is '{}', allowed are llama, qwen2, qwen3",
                     file.path(), c.architecture);
  const std::string scaling = c.architecture + ".rope.scaling.type";
  const Gguf::Expected optional[] = {{"general.name", Gguf::Kind::text},
                                     {scaling, Gguf::Kind::text}};
  KVKEEP_TRY(file.expect(optional));
  c.name = file.text("general.name", "");
  for (char& letter : c.name)  // names reach terminals
    if (static_cast<unsigned char>(letter) < 0x20 || letter == 0x7f) letter = '?';
  Reader in(file, c.architecture + ".");
  read_shape(in, &c);
  if (!in.error()) read_rope(file, in, &c);
  if (in.error()) return tl::unexpected(*in.error());
  KVKEEP_TRY(read_rope_factors(file, &c.rope));
  KVKEEP_TRY(read_vocab(file, &c));
  c.tied_embeddings = file.find("output.weight") == nullptr;
  c.qk_norm = c.architecture == "qwen3";
  c.qkv_bias = c.architecture == "qwen2" || file.find("blk.0.attn_q.bias") != nullptr;
  return c;
}

}  // namespace kvkeep
