// The numbers that define a decoder-only transformer of the Llama family.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/rope.h"
#include "model/attention_site.h"

namespace kvkeep {

struct ModelConfig {
  std::string architecture;  // "llama", "qwen2", "qwen3"
  std::string name;          // general.name, may be empty
  int layers = 0, dim = 0, q_heads = 0, kv_heads = 0, head_dim = 0, ffn_dim = 0;
  int vocab = 0, context = 0;
  float norm_eps = 1e-5f;
  bool tied_embeddings = false, qk_norm = false, qkv_bias = false;
  RopeConfig rope;

  AttentionShape attention_shape() const { return {layers, q_heads, kv_heads, head_dim}; }
};

}  // namespace kvkeep
