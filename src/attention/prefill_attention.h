// Attention of a slice of new tokens over everything a layer holds, by matrix products.
//
// The layer's rows are read once into float32 scratch (compressed tiers first, the exact tier last,
// so that the slice's own rows stand at the end and the causal mask is a ragged right edge). Then
// 64 query rows at a time: S = q K^T, softmax, out = S V; no buffer grows with tokens^2. The
// softmax rows also give the attention mass that scorers observe, exactly, at the price of one
// column sum.
#pragma once

#include <vector>

#include "attention/decode_attention.h"
#include "base/aligned_buffer.h"

namespace kvkeep {

class PrefillAttention {
 public:
  PrefillAttention(const Pipeline* pipeline, const HeadCounts& heads)
      : pipeline_(pipeline), heads_(heads) {}

  // q, out [tokens][q_heads][head_dim]; the tokens' rows are already the last of level 0.
  void attend(Sequence* cache, int layer, int tokens, const float* q, float* out, ThreadPool* pool);

  // Gives the scratch back; the next call takes it again.
  void release();

  size_t scratch_bytes() const {
    return keys_.bytes() + values_.bytes() + probabilities_.bytes() + mass_.bytes();
  }

 private:
  struct Range {
    int kv_head, level, first, count;  // slots
    size_t row;                        // first row in the head's scratch
  };
  void observe_rows(const Sequence& cache, int layer, int tokens);
  void plan_ranges(const Sequence& cache, int layer);
  void attend_rows(int kv_head, int first, int count, int tokens, const float* q, float* out,
                   float* probabilities, float* mass) const;
  void score(Sequence* cache, int layer, int kv_head, int row_blocks) const;

  const Pipeline* pipeline_;
  HeadCounts heads_;
  size_t rows_ = 0;                // slots of the fullest head
  std::vector<size_t> head_rows_;  // slots of each kv_head
  std::vector<Range> ranges_;
  std::vector<uint8_t> observed_;  // [tokens] rows of the slice whose attention counts
  int observed_rows_ = 0;
  AlignedBuffer<float> keys_, values_;  // [kv_heads][rows][head_dim]
  AlignedBuffer<float> probabilities_;  // [workers][64][rows]
  AlignedBuffer<float> mass_;           // [kv_heads][row blocks][rows]
};

}  // namespace kvkeep
