// How many tokens each precision may hold.
//
// uniform: the same share of tokens for every (layer, kv_head), growing with the sequence. Of T
// tokens, H = max(ceil(keep * T), sinks + window) stay exact or high; the newest
// max(window, floor(recent * H)) and the first `sinks` are pinned, the rest of H goes to the best
// scores (MiKV and H2O take half and half). Where the high tier is coded, the exact tier holds the
// sinks and the newest `window` alone.
#pragma once

#include "kvkeep/plan.h"

namespace kvkeep {

struct Quota {
  int high = 0;         // tokens that stay exact or high
  int exact = 0;        // tokens that stay exact: all of `high` where the high tier is f16
  int sinks = 0;        // positions < sinks are pinned on every tier
  int first_high = 0;   // positions >= this are pinned in the high tier
  int first_exact = 0;  // positions >= this are pinned in the exact tier
};

class Budget {
 public:
  explicit Budget(const Plan& plan);

  // For a (layer, kv_head) that has seen `tokens` tokens.
  Quota allocate(int tokens) const;

  int demote_rows() const { return demote_; }
  int sinks() const { return sinks_; }
  int window() const { return window_; }
  double keep() const { return keep_; }

 private:
  double keep_, recent_;
  int sinks_, window_, demote_;
  bool exact_high_;
};

}  // namespace kvkeep
