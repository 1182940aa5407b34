// The same number of tokens in every layer and kv_head.
//
// A tier takes memory in blocks of 64 rows, and with equal heads all of them have the same part of
// a block empty. align=blocks gives each head whole blocks instead: with n rows in the mean, head i
// of h holds the blocks of n + 64 (i + 1/2) / h rows, rounded down. Their mean is n again, nothing
// is empty, bytes rise by one block at a time, and no head's places shrink while the text grows.
// A head with a block less pins fewer of the newest rows, if that is what its places are for.
#include <algorithm>

#include "cache/tier.h"
#include "codec/budget/budget.h"

namespace kvkeep {
namespace {

class Uniform : public Budget {
 public:
  Uniform(const Plan& plan, const BudgetContext& shape)
      : Budget(plan, shape),
        in_blocks_(plan.slot("budget").param("align") == "blocks"),
        apart_(plan.slot("high").method == "f16" ? 0 : sinks() + window()) {}
  std::unique_ptr<Budget> clone() const override { return std::make_unique<Uniform>(*this); }

 private:
  int spread(HeadIndex head, const Bounds& bounds) const override {
    const bool all = keep() + mid_keep() >= 1 && bounds.even == bounds.most;
    if (!in_blocks_ || all) return bounds.even;
    const int heads = context().layers * context().kv_heads;
    const int index = head.layer * context().kv_heads + head.kv_head;
    const int rows = bounds.even - apart_ + kTierBlockSlots * (2 * index + 1) / (2 * heads);
    const int blocks = std::max(rows, 0) / kTierBlockSlots;
    return std::clamp(apart_ + blocks * kTierBlockSlots, std::min(apart_, bounds.even),
                      bounds.most);
  }

  bool in_blocks_;
  int apart_;  // exact rows, which have a tier of their own above a coded high tier
};

}  // namespace

Result<std::unique_ptr<Budget>> make_budget_uniform(const Plan& plan,
                                                    const BudgetContext& context) {
  return std::make_unique<Uniform>(plan, context);
}

}  // namespace kvkeep
