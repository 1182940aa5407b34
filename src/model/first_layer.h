// Layer 0 of a token from its number: keys before RoPE and values come from the token's embedding
// alone, whatever stands before it. So a cache that knows a token's number need not hold its first
// layer (as Graef 2024, arXiv 2402.13388, precomputes it for speed).
//
// Bits are the same on every machine and for any grouping of tokens: norms are sums in double, in
// order, and products those of kernels/products.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/transformer.h"

namespace kvkeep {

class FirstLayer {
 public:
  explicit FirstLayer(std::shared_ptr<const Transformer> model);

  int vocab() const { return model_->config().vocab; }

  // Weights of keys and values as float32 [dim][kv_dim].
  void unpack(std::vector<float>* key, std::vector<float>* value) const;
  // With them: keys, values [tokens][kv_heads][head_dim]; tokens of the model's vocabulary.
  void read(std::span<const int32_t> tokens, std::span<const float> key,
            std::span<const float> value, float* keys, float* values) const;

 private:
  std::shared_ptr<const Transformer> model_;
};

}  // namespace kvkeep
