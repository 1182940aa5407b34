// How many tokens each precision may hold, for every (layer, kv_head).
//
// Of T tokens, H = max(ceil(keep * T), max(sinks, prefix) + window) stay exact or high in the mean
// head, and the next best mid_keep * T stand on the middle level, if there is one. A method spreads
// that sum over the heads: evenly, by depth, by the scores of their tokens. The rest holds for all
// methods. In every head (but those with a block less under align=blocks) the newest max(window,
// floor(recent * H)) and the first max(sinks, prefix) are pinned, and what is left of its places
// goes to the best scores (MiKV and H2O take half and half). The middle level gives mid_recent of
// its places to the newest below those. Where the high tier is coded, the exact tier holds the
// sinks and the newest `window` alone. With quota=fixed all is a share of the prompt and stays what
// it was.
//
// A method is one .cc file and one row in methods.inc. Const members may be called from several
// threads.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "codec/head_index.h"
#include "codec/registry.h"
#include "kvkeep/plan.h"

namespace kvkeep {

struct Quota {
  int high = 0;         // tokens that stay exact or high
  int mid = 0;          // tokens that stay exact, high or on the middle level
  int exact = 0;        // tokens that stay exact: all of `high` where the high tier is f16
  int sinks = 0;        // positions < sinks are pinned on every tier
  int prefix = 0;       // positions < prefix never go below the high tier
  int first_high = 0;   // positions >= this are pinned in the high tier
  int first_mid = 0;    // positions >= this never go below the middle level
  int first_exact = 0;  // positions >= this are pinned in the exact tier
};

struct BudgetContext {
  int layers = 0, kv_heads = 0;
};

// The rows of one head that compete for its places above the low level.
struct HeadScores {
  int pinned = 0;             // rows that stay whatever they score
  std::vector<float> scores;  // of the others; not NaN
};

class Budget {
 public:
  Budget(const Plan& plan, const BudgetContext& context);
  virtual ~Budget() = default;

  // For a head that has seen `tokens` tokens, the first `prompt` of them before the first
  // compression (0: none yet).
  Quota allocate(HeadIndex head, int tokens, int prompt = 0) const;

  int demote_rows() const { return demote_; }
  int sinks() const { return sinks_; }
  int prefix() const { return prefix_; }
  int window() const { return window_; }
  int slice() const { return slice_; }  // prompt tokens between compressions; 0: all
  double keep() const { return keep_; }
  double mid_keep() const { return mid_keep_; }
  bool fixed() const { return fixed_; }  // shares are of the prompt

  // Budgets that follow the scores are shown those of a layer, [kv_heads], when a prompt is
  // compressed, and again while the text grows.
  virtual bool follows_scores() const { return false; }
  virtual void follow(int /*layer*/, std::span<const HeadScores>, int /*tokens*/, int /*prompt*/) {}

  virtual std::unique_ptr<Budget> clone() const = 0;  // the same state for a forked sequence
  virtual size_t state_bytes() const { return 0; }

 protected:
  // What the heads hold together, seen from one of them: `even` is their mean, and none may hold
  // less than `least` or more than `most`; least <= even <= most.
  struct Bounds {
    int even = 0, least = 0, most = 0;
  };
  Bounds high_bounds(int tokens, int prompt) const;  // of the exact and high tiers
  Bounds mid_bounds(int tokens, int prompt) const;   // of these and the middle level
  const BudgetContext& context() const { return context_; }

 private:
  // The places of `head`; over all heads the sum is even times their number.
  virtual int spread(HeadIndex head, const Bounds& bounds) const = 0;
  int basis(int tokens, int prompt) const;
  int newest(int even) const;

  BudgetContext context_;
  double keep_, mid_keep_, recent_, mid_recent_;
  int sinks_, prefix_, window_, slice_, demote_;
  bool exact_high_, fixed_;
};

#define KVKEEP_BUDGET(name, ...) \
  Result<std::unique_ptr<Budget>> make_budget_##name(const Plan&, const BudgetContext&);
#include "codec/budget/methods.inc"
#undef KVKEEP_BUDGET

// The budget a plan's slot names; bad_input where it does not fit the model.
Result<std::unique_ptr<Budget>> make_budget(const Plan& plan, const BudgetContext& context);

}  // namespace kvkeep
