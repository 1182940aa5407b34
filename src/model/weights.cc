#include "model/weights.h"

#include <cstdint>
#include <optional>
#include <set>
#include <string_view>

#include "base/fail.h"
#include "base/thread_pool.h"

namespace kvkeep {
namespace {

bool used_in_place(const Tensor& tensor) {
  const bool aligned = reinterpret_cast<uintptr_t>(tensor.data.data()) % sizeof(uint16_t) == 0;
  const TensorType type = tensor.type;
  return aligned &&
         (type == TensorType::f16 || type == TensorType::bf16 || type == TensorType::q8_0);
}

// Takes tensors out of the file by name, checks their shapes and keeps the first error.
class Loader {
 public:
  Loader(const Gguf& file, Weights* weights) : file_(file), weights_(weights) {}

  Matrix matrix(const std::string& name, int64_t rows, int64_t columns) {
    const Tensor* tensor = take(name, {columns, rows});
    if (tensor == nullptr) return {};
    Matrix m{tensor->type, tensor->data.data(), rows, columns, stored_row_bytes(*tensor)};
    if (!used_in_place(*tensor)) {
      if (!pool_) pool_.emplace(hardware_threads());
      auto& words = weights_->converted.emplace_back();
      m.type = convert_to_16_bits(*tensor, *pool_, &words);
      m.data = reinterpret_cast<const std::byte*>(words.data());
      m.row_bytes = static_cast<size_t>(columns) * sizeof(uint16_t);
    }
    weights_->bytes += static_cast<size_t>(rows) * m.row_bytes;
    weights_->parameters += rows * columns;
    return m;
  }

  std::vector<float> vector(const std::string& name, int64_t size) {
    const Tensor* tensor = take(name, {size});
    if (tensor == nullptr) return {};
    std::vector<float> values(static_cast<size_t>(size));
    dequantize(tensor->type, tensor->data.data(), values.data(), size);
    weights_->bytes += values.size() * sizeof(float);
    weights_->parameters += size;
    return values;
  }

  // After everything needed is taken: an error if one was met or a tensor is left over.
  Result<void> finish(const std::string& architecture) {
    if (error_) return tl::unexpected(*error_);
    for (const Tensor& tensor : file_.tensors())
      if (!taken_.contains(tensor.name) && tensor.name != "rope_freqs.weight")
        return bad_input("'{}': tensor {} is not known for architecture {}", file_.path(),
                         tensor.name, architecture);
    return {};
  }

  bool failed() const { return error_.has_value(); }

 private:
  const Tensor* take(const std::string& name, const std::vector<int64_t>& shape) {
    if (error_) return nullptr;
    const Tensor* tensor = file_.find(name);
    if (tensor == nullptr) {
      error_ = bad_input("'{}': tensor {} is missing, expected with shape [{}]", file_.path(), name,
                         fmt::join(shape, ", "))
                   .value();
    } else if (tensor->shape != shape) {
      error_ = bad_input("'{}': tensor {} has shape [{}], expected [{}]", file_.path(), name,
                         fmt::join(tensor->shape, ", "), fmt::join(shape, ", "))
                   .value();
    } else {
      taken_.insert(tensor->name);
      return tensor;
    }
    return nullptr;
  }

  const Gguf& file_;
  Weights* weights_;
  std::optional<ThreadPool> pool_;  // made when something must be converted
  std::set<std::string_view> taken_;
  std::optional<Error> error_;
};

LayerWeights load_layer(Loader& in, const ModelConfig& c, int layer) {
  const auto name = [&](const char* part) { return fmt::format("blk.{}.{}", layer, part); };
  const int64_t dim = c.dim, ffn = c.ffn_dim, q_dim = c.q_dim(), kv_dim = c.kv_dim();
  LayerWeights w;
  w.attention_norm = in.vector(name("attn_norm.weight"), dim);
  w.ffn_norm = in.vector(name("ffn_norm.weight"), dim);
  w.q = in.matrix(name("attn_q.weight"), q_dim, dim);
  w.k = in.matrix(name("attn_k.weight"), kv_dim, dim);
  w.v = in.matrix(name("attn_v.weight"), kv_dim, dim);
  w.output = in.matrix(name("attn_output.weight"), dim, q_dim);
  w.gate = in.matrix(name("ffn_gate.weight"), ffn, dim);
  w.up = in.matrix(name("ffn_up.weight"), ffn, dim);
  w.down = in.matrix(name("ffn_down.weight"), dim, ffn);
  if (c.qkv_bias) {
    w.q_bias = in.vector(name("attn_q.bias"), q_dim);
    w.k_bias = in.vector(name("attn_k.bias"), kv_dim);
    w.v_bias = in.vector(name("attn_v.bias"), kv_dim);
  }
  if (c.qk_norm) {
    w.q_norm = in.vector(name("attn_q_norm.weight"), c.head_dim);
    w.k_norm = in.vector(name("attn_k_norm.weight"), c.head_dim);
  }
  return w;
}

}  // namespace

Result<Weights> load_weights(const Gguf& file, const ModelConfig& config) {
  Weights w;
  Loader in(file, &w);
  w.embedding = in.matrix("token_embd.weight", config.vocab, config.dim);
  w.head =
      config.tied_embeddings ? w.embedding : in.matrix("output.weight", config.vocab, config.dim);
  w.output_norm = in.vector("output_norm.weight", config.dim);
  for (int layer = 0; layer < config.layers && !in.failed(); ++layer)
    w.layers.push_back(load_layer(in, config, layer));
  KVKEEP_TRY(in.finish(config.architecture));
  return w;
}

}  // namespace kvkeep
