// The numbers that define a decoder-only transformer of the Llama family, and how they are read
// from a GGUF file that nobody vouches for: each is bounded before anything is allocated from it.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/rope.h"
#include "kvkeep/error.h"
#include "model/attention_site.h"

namespace kvkeep {

class Gguf;

struct ModelConfig {
  std::string architecture;  // "llama", "qwen2", "qwen3"
  std::string name;          // general.name, may be empty
  int layers = 0, dim = 0, q_heads = 0, kv_heads = 0, head_dim = 0, ffn_dim = 0;
  int vocab = 0, context = 0;
  float norm_eps = 1e-5f;
  bool tied_embeddings = false, qk_norm = false, qkv_bias = false;
  RopeConfig rope;

  AttentionShape attention_shape() const { return {layers, q_heads, kv_heads, head_dim}; }
  int q_dim() const { return q_heads * head_dim; }
  int kv_dim() const { return kv_heads * head_dim; }
};

// From the metadata, the shape of token_embd.weight (vocab), the values of rope_freqs.weight and
// the presence of output.weight and of the biases. Anything kvkeep cannot run is refused with one
// line that names the key, what was found and what is allowed.
Result<ModelConfig> read_config(const Gguf& file);

}  // namespace kvkeep
