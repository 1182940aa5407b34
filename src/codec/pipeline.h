// A plan met with a model: the ladder of precisions a row can stand on, and the way down.
//
//   level 0   f16, exact            every new row enters here
//   level 1   high tier             only where the plan codes important rows (mikv-int8)
//   last      low tier              absent where the plan evicts (drop)
//
//   demote = read row -> transform -> quantize -> pack into the next level's tail slot
//
// The only place that knows all stages. Append and demote change one (layer, kv_head) and may run
// for different ones in parallel; reading is const.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "cache/sequence.h"
#include "codec/budget.h"
#include "codec/level.h"
#include "codec/scorer/scorer.h"
#include "codec/transform/transform.h"
#include "kvkeep/plan.h"

namespace kvkeep {

class Pipeline {
 public:
  // bad_input when a layout's group does not fit head_dim, or transforms are chained wrongly.
  static Result<Pipeline> make(const Plan& plan, const TransformContext& context);

  const std::vector<Level>& levels() const { return levels_; }
  std::vector<TierShape> tier_shapes() const;
  const Budget& budget() const { return budget_; }
  bool evicts() const { return evicts_; }
  // Coded tiers are read in integers; f16 tiers never are.
  bool attends_in_integers() const { return integer_; }
  bool observes_attention() const { return observes_attention_; }
  const std::vector<std::unique_ptr<Transform>>& transforms() const { return transforms_; }

  // Shows the queries of one layer's read, [rows][kv_heads * gqa_ratio][head_dim], after RoPE; kept
  // only where a transform learns from them and has not been fitted yet.
  void observe_queries(int layer, const float* q, int rows, int gqa_ratio);

  // Appends the exact row k, v [head_dim] at level 0. An error if a value is not finite in f16.
  Result<void> append(Sequence* cache, HeadIndex head, int position, const float* k,
                      const float* v) const;

  // Rows of one head's level that must go down after `tokens` tokens were seen: all beyond its
  // quota if flush, else none until demote_rows() of them are.
  int due(const Sequence& cache, HeadIndex head, int level, int tokens, bool flush) const;
  // Sends them down, or evicts them.
  void demote(Sequence* cache, HeadIndex head, int level, int tokens, bool flush);

  // Rows first .. first+count-1 of a tier in the original basis: k, v [count][head_dim].
  void read_rows(const Sequence& cache, HeadIndex head, int level, int first, int count, float* k,
                 float* v) const;

  // Adds what `rows` observed rows of one read showed to the scores of one block's first slots.
  void update_scores(Tier* tier, int block, int count, std::span<const float> mass, int rows) const;
  const Scorer& scorer() const { return *scorer_; }

  // Of all transforms: bytes of this sequence, and bytes every sequence of the model shares.
  size_t transform_bytes() const;
  size_t shared_bytes() const;

  // Bits a value costs in the accounting of the method's paper: codes, scales and minima of the
  // planned shares; no positions, scores, windows or slack.
  double paper_bits_per_value() const;

 private:
  Pipeline(const Plan& plan, const TransformContext& context);
  std::vector<int> choose(const Sequence& cache, HeadIndex head, int level, int tokens,
                          int count) const;
  std::vector<float> rank(const Sequence& cache, HeadIndex head, int level, int tokens,
                          const std::vector<int>& slots) const;
  std::vector<float> key_norms(const Sequence& cache, HeadIndex head, int level,
                               const std::vector<int>& slots) const;
  void copy_down(Sequence* cache, HeadIndex head, int level, std::span<const int> slots) const;
  void fit(const Sequence& cache, HeadIndex head);

  TransformContext context_;
  Budget budget_;
  std::unique_ptr<Scorer> scorer_;
  std::vector<std::unique_ptr<Transform>> transforms_;
  std::vector<Level> levels_;
  std::vector<uint8_t> fitted_;   // [layers][kv_heads]
  std::vector<float> query_max_;  // [layers][kv_heads][head_dim], if a transform observes queries
  bool evicts_ = false, integer_ = false, observes_attention_ = false, observes_keys_ = false;
};

}  // namespace kvkeep
