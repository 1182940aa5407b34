// The chain of transforms of a plan, and what it has learned about each (layer, kv_head).
//
// A row can be read only with the state it was coded with, so what is learned is frozen when a
// head's first rows go down. Where a plan asks for it (`balance:refresh`, the guard of `centre`) a
// head gets a new chain later, for rows coded from then on. A chain begins with a block of the low
// tier, so that a block is read with one chain and a row stores nothing about it:
//
//   low tier   block 0 | block 1 | block 2 | block 3 ...
//   chain      the first, of all heads     | the head's second ...        (an epoch each)
//
// That works where rows of the low tier stay where they were put: nothing is evicted from it. Coded
// tiers above it, which rows leave, keep the first chain. A new chain shares every transform that
// did not change.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "codec/transform/transform.h"

namespace kvkeep {

// Takes rows k, v [count][head_dim] back to the original basis; position(i) is that of the i-th.
// Values are left out if v is null.
template <class Position>
void invert(const std::vector<std::shared_ptr<Transform>>& chain, HeadIndex head, int count,
            int head_dim, const Position& position, float* k, float* v) {
  for (auto it = chain.rbegin(); it != chain.rend(); ++it) {
    for (int i = 0; i < count; ++i)
      (*it)->inverse_key(head, k + static_cast<ptrdiff_t>(i) * head_dim, position(i));
    if (v) (*it)->inverse_value(v, count, head_dim);
  }
}

class Transforms {
 public:
  using Chain = std::vector<std::shared_ptr<Transform>>;

  // bad_input when transforms are chained wrongly.
  static Result<Transforms> make(const Plan& plan, const TransformContext& context);
  Transforms(const Transforms&) = default;  // shares all transforms
  Transforms(Transforms&&) = default;
  Transforms& operator=(Transforms&&) = default;
  // The same state for a forked sequence: what is not learned yet is learned apart.
  Transforms fork() const;

  // Says whether rows of the low tier stay where they were put, so that heads may get new chains;
  // bad_input where the plan asks for them and rows do not.
  Result<void> allow_epochs(bool stays);

  const Chain& first() const { return first_; }
  const Chain& newest(HeadIndex head) const;
  const Chain& chain(HeadIndex head, int epoch) const;
  int epochs(HeadIndex head) const {
    return later_.empty() ? 1 : 1 + static_cast<int>(later(head).size());
  }
  int epoch(HeadIndex head, int block) const;      // of a block of the low tier
  int epoch_end(HeadIndex head, int epoch) const;  // its first block after it; INT_MAX: none

  bool needs_fit() const { return needs_fit_; }
  bool has_bias() const;
  bool fitted(HeadIndex head) const { return needs_fit_ && fitted_[index(head)] > 0; }

  // Queries of one layer's read, [rows][kv_heads * gqa_ratio][head_dim], after RoPE; kept only
  // where a transform will learn from them.
  void observe_queries(int layer, const float* q, int rows, int gqa_ratio);

  // Learns from `keys` [n][head_dim], all rows of the prompt; `tokens` were seen. Once a head.
  void fit(HeadIndex head, int tokens, std::span<float> keys, std::span<const int32_t> positions);
  // May refit() do anything once `tokens` were seen?
  bool may_refit(HeadIndex head, int tokens) const;
  // The same from rows that were appended since: the next row of the low tier begins `block`.
  void refit(HeadIndex head, int tokens, std::span<float> keys, std::span<const int32_t> positions,
             int block);

  size_t state_bytes() const;   // of this sequence
  size_t shared_bytes() const;  // the same for all sequences of a model

 private:
  struct Epoch {
    int first_block;
    Chain chain;
  };

  explicit Transforms(const TransformContext& context);
  size_t index(HeadIndex head) const {
    return static_cast<size_t>(head.layer * context_.kv_heads + head.kv_head);
  }
  const std::vector<Epoch>& later(HeadIndex head) const { return later_[index(head)]; }
  void forget_queries(HeadIndex head);
  FitInput input(HeadIndex head, int tokens, std::span<const float> keys,
                 std::span<const int32_t> positions) const;
  void forward(const Transform& transform, HeadIndex head, std::span<float> keys,
               std::span<const int32_t> positions) const;

  TransformContext context_;
  size_t heads_;  // layers * kv_heads
  Chain first_;
  std::vector<std::vector<Epoch>> later_;  // [heads], if a transform may refit
  std::vector<int> fitted_;                // [heads]: tokens seen then, if one learns
  QuerySummary summary_ = QuerySummary::none;
  std::vector<float> queries_;  // [heads][head_dim], if a transform wants a summary of them
  bool needs_fit_ = false, refits_ = false, observes_again_ = false;
};

}  // namespace kvkeep
