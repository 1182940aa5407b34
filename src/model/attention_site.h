// The seam between a model and whatever keeps its keys and values.
//
// The model computes q, k, v of a run of tokens and asks the site for the attention output; the
// site owns the cache. DenseAttention (model/) is the exact float32 oracle; CompressedAttention
// (engine/) is the product.
#pragma once

#include <cstdint>

#include "kvkeep/error.h"

namespace kvkeep {

struct AttentionShape {
  int layers = 0, q_heads = 0, kv_heads = 0, head_dim = 0;
  int gqa_ratio() const { return q_heads / kv_heads; }
};

// One layer's work for `tokens` consecutive tokens of one sequence, or for one token each of as
// many sequences where the site has several (Transformer::forward_each); RoPE is already applied to
// q and k.
struct AttentionCall {
  int layer = 0;
  int tokens = 0;
  int first_position = 0;        // token t stands at first_position + t; else that of token 0
  const float* q = nullptr;      // [tokens][q_heads][head_dim], not yet scaled by head_dim^-1/2
  const float* k = nullptr;      // [tokens][kv_heads][head_dim]
  const float* v = nullptr;      // [tokens][kv_heads][head_dim]
  float* out = nullptr;          // [tokens][q_heads][head_dim]
  const int32_t* ids = nullptr;  // [tokens] numbers of the tokens; null where nobody knows them
};

class AttentionSite {
 public:
  virtual ~AttentionSite() = default;
  // Appends k, v, then attends causally: token t sees everything up to and including itself.
  // NaN or infinity in k or v is an error that names layer, kv_head and position.
  virtual Result<void> attend(const AttentionCall& call) = 0;
};

}  // namespace kvkeep
