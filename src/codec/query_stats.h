// What the queries of a model look like before RoPE: mean and covariance of every q_head, from
// which the attention of queries still to come can be foretold (Expected Attention, Devoto et al.
// 2025, arXiv 2510.00636).
//
// All rows of prompts count. Rows that come one by one count until there are enough: at head_dim^2
// multiplications a q_head they would slow every step for nothing.
#pragma once

#include <cstddef>
#include <vector>

#include "codec/head_index.h"
#include "kernels/rope.h"

namespace kvkeep {

class QueryStats {
 public:
  QueryStats(int layers, int kv_heads, int head_dim, const RopeConfig& rope);

  // q [rows][kv_heads * gqa_ratio][head_dim] after RoPE, of the positions from `first_position` on.
  void observe(int layer, const float* q, int rows, int gqa_ratio, int first_position);

  int gqa_ratio() const { return gqa_ratio_; }  // 0 until a query was seen
  int head_dim() const { return head_dim_; }

  // Of one q_head of a group at a place that is equally likely to be any of the `count` positions
  // from `first` on, rotated there.
  struct Moments {
    std::vector<float> mean;        // [head_dim]
    std::vector<float> covariance;  // [head_dim][head_dim]
  };
  Moments foretell(HeadIndex head, int q_head, int first, int count) const;

  size_t bytes() const { return (sums_.size() + products_.size()) * sizeof(float); }

 private:
  size_t index(int layer, int q_head) const {
    return static_cast<size_t>(layer * kv_heads_ * gqa_ratio_ + q_head);
  }

  int layers_, kv_heads_, head_dim_, gqa_ratio_ = 0;
  Rope rope_;
  std::vector<int> rows_;        // [layers]
  std::vector<float> sums_;      // [layers][q_heads][head_dim]
  std::vector<float> products_;  // [layers][q_heads][head_dim][head_dim]: sums of q q^T
};

}  // namespace kvkeep
