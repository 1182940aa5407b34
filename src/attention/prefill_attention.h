// Attention of a slice of new tokens over everything a layer holds, by matrix products.
//
// A work item is a group of query rows of one kv_head, with all its q_heads. It walks the head's
// rows in chunks (compressed tiers first, the exact tier last, so that the slice's own rows stand
// at the end and the causal mask is a ragged right edge): a chunk is read once to float32, then S =
// q K^T, a step of online softmax (Milakov and Gimelshein 2018) and out += S V. Scratch for keys
// and values is one chunk a thread, however long the context.
//
// Scorers want the attention mass exactly, and a probability is known only once its row has seen
// every chunk. So the exponentials of ranked tiers are kept while an item runs, with the maximum
// each was taken at, and corrected when it ends; items get fewer rows when that would take more
// than kKeptBytes. What a read observes thus costs one multiplication and addition a logit.
#pragma once

#include <vector>

#include "attention/decode_attention.h"
#include "base/aligned_buffer.h"

namespace kvkeep {

class PrefillAttention {
 public:
  PrefillAttention(const Pipeline* pipeline, const HeadCounts& heads)
      : pipeline_(pipeline), heads_(heads) {}

  // q, out [tokens][q_heads][head_dim]; the tokens' rows are already the last of level 0. Rows in
  // chunks, if there are any, are those of the layer that is readable.
  void attend(Sequence* cache, int layer, int tokens, const float* q, float* out, ThreadPool* pool,
              const ChunkTier* chunks = nullptr);

  // Gives the scratch back; the next call takes it again.
  void release();

  size_t scratch_bytes() const {
    return scratch_.bytes() + mass_.bytes() + chunks_.capacity() * sizeof(Chunk);
  }

 private:
  // Rows of one tier that are read together.
  struct Chunk {
    int level, first, count;  // slots; level kColdRows: rows of the chunk tier
    int column;               // of its first row among the head's rows
    int kept_column;          // among the head's ranked rows; -1 if the tier is not ranked
    int kept_place = 0;       // among its ranked chunks
  };
  // What one kv_head holds: chunks [first_chunk, last_chunk), rows and ranked rows.
  struct Head {
    size_t first_chunk, last_chunk;
    int rows, kept_rows;
  };
  // Where an item works: parts of one thread's scratch.
  struct Scratch {
    float *keys, *values;  // [kChunkRows][head_dim]
    float* logits;         // [item rows][kChunkRows]
    float *max, *sum;      // [gqa_ratio][item rows]
    // [ranked chunks][gqa_ratio][item rows][chunk rows]: exponentials, read and written in order
    // ...
    float* kept;
    float* log_masses;  // [kChunkRows], of the chunk
    float* kept_max;    // [ranked chunks][gqa_ratio][item rows]: ... and what they are relative to
  };

  static constexpr int kColdRows = -1;
  void plan_chunks(const Sequence& cache, int layer);
  void plan_scratch(int tokens, int workers);
  Scratch scratch_of(int worker);
  void observe_rows(const Sequence& cache, int layer, int tokens);
  void attend_rows(const Sequence& cache, HeadIndex index, int first, int count, int tokens,
                   const float* q, float* out, const Scratch& scratch, float* mass) const;
  float* kept(const Chunk& chunk, const Scratch& scratch) const;
  void attend_chunk(const Chunk& chunk, int columns, int g, int visible, int count, const float* q,
                    float* out, const Scratch& scratch, bool keep) const;
  void add_mass(const Head& head, int first, int count, const Scratch& scratch, float* mass) const;
  void score(Sequence* cache, int layer, int kv_head) const;

  const Pipeline* pipeline_;
  const ChunkTier* cold_ = nullptr;  // while attend() runs
  HeadCounts heads_;
  std::vector<Chunk> chunks_;
  std::vector<Head> head_chunks_;
  std::vector<uint8_t> observed_;              // [tokens] rows of the slice whose attention counts
  int observed_rows_ = 0, last_position_ = 0;  // of the slice
  int item_rows_ = 0, groups_ = 0;             // query rows of an item, items of a kv_head
  int kept_rows_ = 0, kept_chunks_ = 0;        // most of any head
  int lanes_ = 1;  // of mass: that of the kv_head, then one a q_head if asked
  size_t worker_floats_ = 0;
  AlignedBuffer<float> scratch_;  // [workers] Scratch
  AlignedBuffer<float> mass_;     // [kv_heads][groups][lanes][ranked rows]
};

}  // namespace kvkeep
