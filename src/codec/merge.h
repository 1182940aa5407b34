// Merging on eviction: rows that leave for good are averaged into rows that stay.
//
//   kept key   <- weighted mean of itself and the keys merged into it; the value likewise
//   kept mass  <- sum of masses: the row stands for that many tokens, and log(mass) is added to its
//                 logits, so that attention counts them all
//
// Both methods decide which kept row takes an evicted one, and with what weight; rows that find no
// kept row like them are dropped. Merged tokens count as evicted in every report: what they said
// can no longer be read by itself. Keys are merged as they are stored, after RoPE.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "codec/head_index.h"
#include "kvkeep/plan.h"

namespace kvkeep {

enum class MergeFate : uint8_t {
  leaves,
  takes,  // stays, and may take rows that leave
  exact   // stays as it is
};

// Rows of one (layer, kv_head), ascending by position.
struct MergeRows {
  int dim = 0;
  std::vector<float> k, v;       // [rows][dim]
  std::vector<float> masses;     // tokens each row stands for
  std::vector<float> scores;     // higher = more attended
  std::vector<MergeFate> fates;  // [rows]

  size_t size() const { return masses.size(); }
  std::span<const float> key(size_t row) const {
    const auto d = static_cast<size_t>(dim);
    return std::span(k).subspan(row * d, d);
  }
};

// Which kept row takes an evicted one: `into` is the row itself where none does.
struct MergeChoice {
  std::vector<size_t> into;    // [rows]
  std::vector<float> weights;  // [rows], relative to those of the rows merged into the same one
};

// D2O (Wan et al. 2024, arXiv 2406.13035): the kept row with the nearest key by cosine takes it, if
// their similarity u reaches the threshold, with weight e^u beside e^1 of the kept row. The
// threshold starts as the mean of the first similarities and follows them with weight `follow`;
// *threshold is negative infinity before.
MergeChoice choose_d2o(const MergeRows& rows, float follow, float* threshold);

// KVMerger (Wang et al. 2024, arXiv 2407.08454): rows in a run of neighbours, each with a key of
// cosine >= least to the one before it, go into the best kept row of the run with the weight
// exp(-|k - pivot|^2 / (2 s^2)), s^2 the run's mean squared distance to it.
MergeChoice choose_kvmerger(const MergeRows& rows, float least);

// Keys, values and masses of kept rows after the merge; true for those that changed.
std::vector<uint8_t> merge_rows(const MergeChoice& choice, MergeRows* rows);

// A plan's method, and what it remembers of each (layer, kv_head).
class Merger {
 public:
  Merger(const Plan::Slot& slot, int layers, int kv_heads);

  // As merge_rows; called for different heads from several threads.
  std::vector<uint8_t> merge(HeadIndex head, MergeRows* rows);
  size_t state_bytes() const { return thresholds_.capacity() * sizeof(float); }

  static bool is(const Plan::Slot& slot) {
    return slot.method == "d2o" || slot.method == "kvmerger";
  }

 private:
  bool d2o_;
  float parameter_;
  int kv_heads_;
  std::vector<float> thresholds_;  // [layers][kv_heads]
};

}  // namespace kvkeep
