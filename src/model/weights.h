// The matrices and vectors of a model, checked against its configuration.
//
// What is in memory:
//   F16, BF16, Q8_0 matrices   used in place, in the file's mapping; the Gguf must stay alive
//   F32 and other quantized    converted once at load to F16, or to BF16 where a value is beyond
//                              the range of F16; so no weight takes more than two bytes
//   norms and biases           float32 vectors
// Every tensor the architecture needs must be there with its exact shape, and no other may be: a
// tensor we would ignore (a bias, an expert) means a model we would compute wrongly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "model/config.h"
#include "model/gguf.h"

namespace kvkeep {

// rows x columns in f16, bf16 or q8_0, row by row; y = W x has one output a row.
struct Matrix {
  TensorType type = TensorType::f16;
  const std::byte* data = nullptr;
  int64_t rows = 0, columns = 0;
  size_t row_bytes = 0;

  const std::byte* row(int64_t i) const { return data + static_cast<size_t>(i) * row_bytes; }
};

struct LayerWeights {
  std::vector<float> attention_norm, ffn_norm;  // [dim]
  std::vector<float> q_norm, k_norm;            // [head_dim], empty without qk_norm
  std::vector<float> q_bias, k_bias, v_bias;    // empty without qkv_bias
  Matrix q, k, v, output;                       // [q_dim|kv_dim|kv_dim][dim], [dim][q_dim]
  Matrix gate, up, down;                        // [ffn][dim], [ffn][dim], [dim][ffn]
};

struct Weights {
  Matrix embedding, head;          // [vocab][dim]; the same matrix when embeddings are tied
  std::vector<float> output_norm;  // [dim]
  std::vector<LayerWeights> layers;
  std::vector<AlignedBuffer<uint16_t>> converted;  // what is not used in place
  size_t bytes = 0;                                // of all the above, tied matrices once
  int64_t parameters = 0;
};

size_t stored_row_bytes(const Tensor& tensor);

// Fills words [rows][columns] with the tensor's values as F16, or as BF16 when one of them is
// beyond the range of F16; says which.
TensorType convert_to_16_bits(const Tensor& tensor, ThreadPool& pool,
                              AlignedBuffer<uint16_t>* words);

Result<Weights> load_weights(const Gguf& file, const ModelConfig& config);

// XXH3 of the configuration (without the model's name) and of every tensor's name, type, shape and
// bytes. Beyond 256 MiB of tensors only a sample of each tensor's bytes is read: its first and last
// 64 KiB and 4 KiB at every MiB.
uint64_t fingerprint(const Gguf& file, const ModelConfig& config);

}  // namespace kvkeep
