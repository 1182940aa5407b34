#include <xxhash.h>

#include <algorithm>
#include <memory>
#include <new>
#include <span>
#include <string_view>

#include "model/weights.h"

namespace kvkeep {
namespace {

constexpr size_t kKiB = 1024, kMiB = 1024 * kKiB;
constexpr size_t kWholeBytes = 256 * kMiB;  // up to here every byte is hashed
constexpr size_t kEndBytes = 64 * kKiB, kProbeBytes = 4 * kKiB;

class Hash {
 public:
  Hash() : state_(XXH3_createState()) {
    if (!state_) throw std::bad_alloc();
    XXH3_64bits_reset(state_.get());
  }
  void add(std::span<const std::byte> bytes) {
    XXH3_64bits_update(state_.get(), bytes.data(), bytes.size());
  }
  template <class T>
  void add_values(std::span<const T> values) {
    add(std::as_bytes(values));
  }
  template <class T>
  void add_value(T value) {
    add_values(std::span<const T>(&value, 1));
  }
  void add_text(std::string_view text) {
    add_value<uint64_t>(text.size());
    add_values(std::span<const char>(text));
  }
  uint64_t digest() const { return XXH3_64bits_digest(state_.get()); }

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> state_;
};

void add_config(const ModelConfig& c, Hash* hash) {
  hash->add_text(c.architecture);
  const int64_t shape[] = {c.layers,   c.dim,      c.q_heads,         c.kv_heads,        c.head_dim,
                           c.ffn_dim,  c.vocab,    c.context,         c.tied_embeddings, c.qk_norm,
                           c.qkv_bias, c.rope.dim, c.rope.interleaved};
  hash->add_values(std::span<const int64_t>(shape));
  const float numbers[] = {c.norm_eps, c.rope.base, c.rope.linear_factor};
  hash->add_values(std::span<const float>(numbers));
}

void add_sample(std::span<const std::byte> data, Hash* hash) {
  if (data.size() <= 2 * kEndBytes) return hash->add(data);
  hash->add(data.first(kEndBytes));
  for (size_t at = kMiB; at + kProbeBytes <= data.size(); at += kMiB)
    hash->add(data.subspan(at, kProbeBytes));
  hash->add(data.last(kEndBytes));
}

}  // namespace

uint64_t fingerprint(const Gguf& file, const ModelConfig& config) {
  Hash hash;
  add_config(config, &hash);
  size_t total = 0;
  for (const Tensor& tensor : file.tensors()) total += tensor.data.size();
  for (const Tensor& tensor : file.tensors()) {
    hash.add_text(tensor.name);
    hash.add_value(static_cast<uint32_t>(tensor.type));
    hash.add_values(std::span<const int64_t>(tensor.shape));
    if (total <= kWholeBytes)
      hash.add(tensor.data);
    else
      add_sample(tensor.data, &hash);
  }
  return hash.digest();
}

}  // namespace kvkeep
