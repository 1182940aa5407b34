// What a Transformer holds and what one running sequence needs: shared by loading and forward pass.
#pragma once

#include <memory>
#include <string>

#include "model/gguf.h"
#include "model/linear.h"
#include "model/transformer.h"
#include "model/weights.h"

namespace kvkeep {

struct Transformer::Impl {
  std::shared_ptr<const Gguf> file;
  ModelConfig config;
  Tokenizer tokenizer;
  Weights weights;
  Rope rope;
  uint64_t fingerprint;
};

// Sized for kSliceTokens once; only `linear` grows, with the pool.
struct Transformer::Scratch {
  Scratch(const ModelConfig& config, const KernelTable& table);

  const KernelTable* kernels;
  AlignedBuffer<float> x, normed;       // [tokens][dim]: residual stream and what is added to it
  AlignedBuffer<float> q, attention;    // [tokens][q_heads][head_dim]
  AlignedBuffer<float> k, v;            // [tokens][kv_heads][head_dim]
  AlignedBuffer<float> gate, up;        // [tokens][ffn]
  AlignedBuffer<float> cosines, sines;  // [tokens][rope.dim / 2]
  LinearScratch linear;
};

}  // namespace kvkeep
