// How many tokens each precision may hold.
//
// uniform: the same share of tokens for every (layer, kv_head), growing with the sequence. Of T
// tokens, H = max(ceil(keep * T), max(sinks, prefix) + window) stay exact or high; the newest
// max(window, floor(recent * H)) and the first max(sinks, prefix) are pinned, the rest of H goes to
// the best scores (MiKV and H2O take half and half). The next best mid_keep * T stand on the middle
// level, if there is one. Where the high tier is coded, the exact tier holds the sinks and the
// newest `window` alone. With quota=fixed the shares are of the prompt and stay what they were.
#pragma once

#include "kvkeep/plan.h"

namespace kvkeep {

struct Quota {
  int high = 0;         // tokens that stay exact or high
  int mid = 0;          // tokens that stay exact, high or on the middle level
  int exact = 0;        // tokens that stay exact: all of `high` where the high tier is f16
  int sinks = 0;        // positions < sinks are pinned on every tier
  int prefix = 0;       // positions < prefix never go below the high tier
  int first_high = 0;   // positions >= this are pinned in the high tier
  int first_exact = 0;  // positions >= this are pinned in the exact tier
};

class Budget {
 public:
  explicit Budget(const Plan& plan);

  // For a (layer, kv_head) that has seen `tokens` tokens, the first `prompt` of them before the
  // first compression (0: none yet).
  Quota allocate(int tokens, int prompt = 0) const;

  int demote_rows() const { return demote_; }
  int sinks() const { return sinks_; }
  int prefix() const { return prefix_; }
  int window() const { return window_; }
  double keep() const { return keep_; }
  double mid_keep() const { return mid_keep_; }
  bool fixed() const { return fixed_; }  // shares are of the prompt

 private:
  double keep_, mid_keep_, recent_;
  int sinks_, prefix_, window_, demote_;
  bool exact_high_, fixed_;
};

}  // namespace kvkeep
