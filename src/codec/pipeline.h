// A plan met with a model: the ladder of precisions a row can stand on, and the way down.
//
//   level 0   f16, exact            every new row enters here
//   then      high tier             only where the plan codes important rows (mikv-int8)
//   then      middle tier           only in a ladder of three (diffkv)
//   last      low tier              absent where the plan evicts (drop)
//   or        chunks                across layers (chunk_tier.h): one choice for all heads
//
//   demote = read row -> transform -> quantize -> pack into the next level's tail slot
//
// Levels store no more about a row than the plan will ask: no score that no attention gives, and no
// position in a last level that rows reach in order (rtn2), or whose reader needs none (mikv).
//
// The only place that knows all stages. Append and demote change one (layer, kv_head) and may run
// for different ones in parallel; reading is const.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "cache/sequence.h"
#include "codec/budget/budget.h"
#include "codec/level.h"
#include "codec/merge.h"
#include "codec/query_stats.h"
#include "codec/representatives/representatives.h"
#include "codec/scorer/scorer.h"
#include "codec/transforms.h"
#include "kernels/kernel_table.h"
#include "kvkeep/plan.h"

namespace kvkeep {

// The observed rows of one read of a kv_head.
struct SeenRows {
  int rows = 1;
  uint64_t noise = 0;  // what scores are rounded with: differs from read to read and head to head

  // The last row of the read, observed or not, stands at `last`.
  static SeenRows of(HeadIndex head, int rows, int last);
};

class Pipeline {
 public:
  // bad_input when a layout's group does not fit head_dim, or transforms are chained wrongly.
  static Result<Pipeline> make(const Plan& plan, const TransformContext& context);
  Pipeline(Pipeline&&) = default;

  const std::vector<Level>& levels() const { return levels_; }
  bool last_level(int level) const { return level + 1 == static_cast<int>(levels_.size()); }
  std::vector<TierShape> tier_shapes() const;
  const Budget& budget() const { return *budget_; }
  bool evicts() const { return evicts_; }
  bool chunks() const { return chunk_rows_ > 0; }  // the low level is not one of levels()
  int chunk_rows() const { return chunk_rows_; }
  // Coded tiers are read in integers; f16 tiers never are.
  bool attends_in_integers() const { return integer_; }
  bool observes_attention() const { return observes(observes_, Observes::attention); }
  const Transforms& transforms() const { return transforms_; }
  // Which chain of the transforms the rows of a coded block are in, and the first block that may be
  // in another: rows of levels above the last keep the first chain.
  int epoch(HeadIndex head, int level, int block) const;
  int epoch_end(HeadIndex head, int level, int block) const;

  GqaAggregate gqa() const { return gqa_; }

  // A transform that learns from the prompt is fitted when a head's first rows go down, and frozen.
  // Until a head has seen this many rows none of them go down, so that it learns from a sample.
  static constexpr int kFitRows = 64;

  // The same plan and state for a forked sequence.
  Pipeline fork() const;

  // Tells that `tokens` tokens were seen when the prompt ended; only the first call counts.
  void see_prompt(int tokens) {
    if (prompt_ == 0) prompt_ = tokens;
  }
  Quota quota(HeadIndex head, int tokens) const { return budget_->allocate(head, tokens, prompt_); }

  // True if the budget would follow the scores anew after `tokens` tokens: it does so when a prompt
  // is compressed, and where it grows with the text, whenever that has grown by a quarter.
  bool reallocates(int tokens, bool flush) const;
  // Lets it do so; in no other thread is anything of the pipeline in use.
  void reallocate(const Sequence& cache, int tokens);

  // Shows the queries of one layer's read, [rows][kv_heads * gqa_ratio][head_dim], after RoPE, the
  // first row at first_position; kept only where the scorer or a transform learns from them.
  void observe_queries(int layer, const float* q, int rows, int gqa_ratio, int first_position);

  // Appends the exact row k, v [head_dim] at level 0. An error if a value is not finite in f16.
  Result<void> append(Sequence* cache, HeadIndex head, int position, const float* k,
                      const float* v) const;

  // Rows of one head's level that must go down after `tokens` tokens were seen: all beyond its
  // quota if flush, else none until demote_rows() of them are.
  int due(const Sequence& cache, HeadIndex head, int level, int tokens, bool flush) const;
  // Sends them down, or evicts them.
  void demote(Sequence* cache, HeadIndex head, int level, int tokens, bool flush);
  // Where representatives are chosen, all kv_heads of a layer go together: the level, or -1.
  int layer_level() const { return layer_level_; }
  void demote_layer(Sequence* cache, int layer, int tokens, bool flush);

  // Slots of the last level's rows that go into chunks: the same in every (layer, kv_head), because
  // scores are summed over all of them. In order of position; empty while fewer than a chunk are
  // due, unless flush.
  std::vector<int> choose_for_chunks(const Sequence& cache, int tokens, bool flush,
                                     ThreadPool* pool) const;
  // Rows of the last level at `slots`, in the original basis: k, v [slots][head_dim].
  void read_for_chunks(const Sequence& cache, HeadIndex head, std::span<const int> slots, float* k,
                       float* v) const;
  void remove_slots(Sequence* cache, HeadIndex head, const std::vector<int>& slots) const;

  // True if all rows from position `from` on can be found again among the head's `tokens` tokens;
  // else some stand on a level that stores no positions, or rows that share scales would be parted.
  // Evicted rows need not be found.
  bool can_take_back(const Sequence& cache, HeadIndex head, int from, int tokens) const;
  // Removes them. Rows that went down because of them stay down, and keep their scores.
  void take_back(Sequence* cache, HeadIndex head, int from) const;

  // Rows first .. first+count-1 of a tier in the original basis: k, v [count][head_dim].
  void read_rows(const Sequence& cache, HeadIndex head, int level, int first, int count, float* k,
                 float* v) const;

  // Adds what one read showed to the scores of one block's first slots, which the tier owns
  // (Tier::make_own). lane 0: the score itself; 1 + i: that of the i-th q_head, where levels have
  // head_scores.
  void update_scores(Tier* tier, int block, int count, const MassRows& given, const SeenRows& seen,
                     int lane = 0) const;
  const Scorer& scorer() const { return *scorer_; }

  // Of all transforms: bytes of this sequence, and bytes every sequence of the model shares.
  size_t transform_bytes() const { return transforms_.state_bytes(); }
  size_t shared_bytes() const { return transforms_.shared_bytes(); }
  // What the scorer and the budget know of this sequence beside the scores in the cache.
  size_t statistics_bytes() const;

  // Bits a value costs in the accounting of the method's paper: codes, scales and minima of the
  // planned shares; no positions, scores, windows or slack. chunk_bits: of a value in a chunk.
  double paper_bits_per_value(double chunk_bits = 0) const;

 private:
  struct Sample {
    std::vector<float> keys;  // [n][head_dim]
    std::vector<int32_t> positions;
  };
  static constexpr size_t kRefitRows = 256;  // what a refit learns from

  Pipeline(const Plan& plan, const TransformContext& context, Transforms transforms);
  Pipeline(const Pipeline&) = default;  // shares transforms
  Result<void> make_levels(const Plan& plan);
  void choose_tags(const Plan& plan);
  int most(const Quota& quota, int level) const;
  bool waits_for_fit(HeadIndex head, int tokens) const;
  std::vector<int> choose(const Sequence& cache, HeadIndex head, int level, int tokens,
                          int count) const;
  // The rows of a level by position, and what each is worth: first its pin, then its score.
  struct Ranking {
    std::vector<int> slots;
    std::vector<uint8_t> pins;  // 0 competes; 2 leaves after 1
    std::vector<float> scores;  // not NaN
  };
  // `keep` of the rows will stay.
  Ranking rank(const Sequence& cache, HeadIndex head, int level, int tokens, int keep) const;
  void read_slots(const Tier& tier, HeadIndex head, int level, std::span<const int> slots, float* k,
                  float* v) const;
  HeadRows gather(const Sequence& cache, HeadIndex head, int tokens, bool flush) const;
  void move_down(Sequence* cache, HeadIndex head, int level, int tokens, std::vector<int> slots);
  void merge_away(Sequence* cache, HeadIndex head, std::span<const int> slots, int tokens);
  void copy_down(Sequence* cache, HeadIndex head, int level, std::span<const int> slots) const;
  void undo_transforms(const Tier& tier, HeadIndex head, int level, int first, int count, float* k,
                       float* v) const;
  Sample sample(const Sequence& cache, HeadIndex head, size_t most) const;
  void fit(const Sequence& cache, HeadIndex head, int tokens);
  void refit(const Sequence& cache, HeadIndex head, int tokens, int block);
  bool bound(HeadIndex head, int level) const;

  TransformContext context_;
  std::shared_ptr<Budget> budget_;
  std::shared_ptr<const Scorer> scorer_;
  Observes observes_;
  std::optional<QueryStats> queries_;                       // where the scorer observes queries
  std::shared_ptr<const Representatives> representatives_;  // may be null
  int layer_level_ = -1;
  std::shared_ptr<Merger> merger_;  // may be null
  GqaAggregate gqa_ = GqaAggregate::sum;
  Transforms transforms_;
  std::vector<Level> levels_;
  int prompt_ = 0;      // tokens
  int allocated_ = 0;   // tokens when the budget last followed the scores
  int chunk_rows_ = 0;  // of a chunk, 0: none
  bool evicts_ = false, integer_ = false;
};

}  // namespace kvkeep
