// Attention of one new token a sequence over all tiers of a layer, straight from the packed bytes.
//
// Work items are ranges of 2,048 slots of one (sequence, kv_head, tier), whatever the number of
// threads, so results do not depend on it; every item unpacks its blocks once for all q_heads of
// the group. An item ends where an epoch of the transforms does, so that it is read with one query.
// Items of all sequences are shared by the threads at once; who ends the last item of a (sequence,
// kv_head) merges its parts, in their order, and hands out its scores.
// Where the plan attends in integers, coded tiers are read with a query rounded once per step; f16
// tiers are always exact. Partial states are merged per q_head, then the attention mass of ranked
// slots goes to the scorer.
#pragma once

#include <span>
#include <vector>

#include "attention/attention_state.h"
#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "codec/chunk_tier.h"
#include "codec/pipeline.h"
#include "kernels/kernel_table.h"

namespace kvkeep {

struct HeadCounts {
  int kv_heads = 0, gqa_ratio = 0, head_dim = 0;
};

class DecodeAttention;

// What one sequence reads in one layer. q, out [kv_heads * gqa_ratio][head_dim]; the new token's
// row is already in the cache. Rows in chunks, if there are any, are those of the layer that is
// readable.
struct DecodeRead {
  DecodeAttention* attention = nullptr;  // of this sequence alone
  Sequence* cache = nullptr;
  const float* q = nullptr;
  float* out = nullptr;
  const ChunkTier* chunks = nullptr;
};

// The reads of one sequence; several of them run together.
class DecodeAttention {
 public:
  DecodeAttention(const Pipeline* pipeline, const HeadCounts& heads);

  // At least one; each sequence, with a plan of its own, takes part once. Scratch of the workers is
  // that of the first.
  static void attend(std::span<const DecodeRead> reads, int layer, ThreadPool* pool);
  void attend(Sequence* cache, int layer, const float* q, float* out, ThreadPool* pool,
              const ChunkTier* chunks = nullptr) {
    const DecodeRead read{this, cache, q, out, chunks};
    attend({&read, 1}, layer, pool);
  }

  size_t scratch_bytes() const;

 private:
  struct Item {
    int kv_head, level, epoch;    // level kChunks: rows in chunks
    int first_block, last_block;  // of 64 rows
    size_t state;                 // index of its first AttentionState, gqa_ratio of them
    size_t weights;  // row of its first block's weights [gqa_ratio][64], if the level is scored
  };
  static constexpr int kChunks = -1;
  void plan_items(const Sequence& cache, int layer);
  bool scored(const Item& item) const {
    return item.level != kChunks && pipeline_->levels()[static_cast<size_t>(item.level)].scored;
  }
  void prepare_queries(int layer, const float* q);
  bool integer(const Level& level) const { return level.coded && pipeline_->attends_in_integers(); }
  // Keys by channel are widened all the same.
  bool integer_keys(const Level& level) const { return integer(level) && !by_channel(level.k.id); }
  // Rows of the kv_head's first q_head, of [epochs][q_heads] and [epochs][levels][q_heads].
  float* coded_q(int epoch, int kv_head) {
    return coded_q_.data() + (epoch * q_heads() + kv_head * heads_.gqa_ratio) * stride_;
  }
  QueryCodes* query_codes(int epoch, int level, int kv_head) {
    const int levels = static_cast<int>(pipeline_->levels().size());
    return query_codes_.data() + (epoch * levels + level) * q_heads() + kv_head * heads_.gqa_ratio;
  }
  int q_heads() const { return heads_.kv_heads * heads_.gqa_ratio; }
  void prepare_coded(HeadIndex head, int epoch);
  void score_block(const Item& item, const std::byte* part, const std::byte* next, int count,
                   float* logits);
  void softmax_step(float* logits, int count, AttentionState* states, float* maxima) const;
  // What a worker writes block after block.
  struct Scratch {
    float* logits;  // [gqa_ratio][64]
    float* rows;    // keys, values [64][head_dim], with chunks only
    AttentionState* states;
  };
  size_t scratch_floats() const;
  void prepare(const DecodeRead& read, int layer);
  void run_item(const DecodeRead& read, int layer, size_t index, float* scratch);
  void attend_item(const Sequence& cache, int layer, const Item& item, float* scratch);
  void attend_chunks(const Item& item, const Scratch& scratch);
  void attend_range(const Sequence& cache, int layer, const Item& item, const Scratch& scratch);
  std::span<const Item> items_of(int kv_head) const {
    const auto head = static_cast<size_t>(kv_head);
    return std::span(items_).subspan(first_[head], first_[head + 1] - first_[head]);
  }
  void finish_head(Sequence* cache, int layer, int kv_head, float* out);
  void score(Sequence* cache, int layer, const Item& item, const AttentionState* total, int rows);
  MassRows over_group(float* weights, std::vector<float>* factors, int count) const;

  const Pipeline* pipeline_;
  const ChunkTier* chunks_ = nullptr;  // while attend() runs
  HeadCounts heads_;
  int stride_;                           // floats of a padded query or output row
  AlignedBuffer<float> exact_q_;         // [q_heads][stride], scaled by head_dim^-1/2
  AlignedBuffer<float> coded_q_;         // the same in the basis of each epoch
  AlignedBuffer<float> outs_;            // [states][stride]
  AlignedBuffer<float> weights_;         // of scored levels: exp(logit - maximum) [rows][64],
  AlignedBuffer<float> maxima_;          // the maximum [rows]; a row is (block, q_head)
  AlignedBuffer<float> scratch_;         // [workers][logits, outs, rows of chunks, a page]
  std::vector<QueryCodes> query_codes_;  // [epochs][levels][q_heads]
  std::vector<AttentionState> states_;   // [items][gqa_ratio]
  std::vector<Item> items_;              // kv_head by kv_head
  std::vector<size_t> first_;            // [kv_heads + 1] items of a kv_head: from here to the next
  std::vector<int> left_;                // [kv_heads] items that nobody has ended yet
  std::vector<AttentionState> totals_;   // [q_heads]
};

}  // namespace kvkeep
