// align=blocks: a head's places as whole blocks.
//
// A tier takes memory in blocks of 64 rows, and with equal heads all of them have the same part of
// a block empty. With n rows due, head i of h holds the blocks of n + 64 (i + 1/2) / h rows,
// rounded down, instead: where heads are equal their mean is n again, nothing is empty, bytes rise
// by one block at a time, and no head's places shrink while the text grows. A head with a block
// less pins fewer of the newest rows, if that is what its places are for.
#pragma once

#include <algorithm>

#include "cache/tier.h"
#include "codec/budget/budget.h"

namespace kvkeep {

class WholeBlocks {
 public:
  // apart: exact rows, which have a tier of their own above a coded high tier.
  WholeBlocks(const Plan& plan, const BudgetContext& shape, int apart)
      : asked_(plan.slot("budget").param("align") == "blocks"),
        apart_(plan.slot("high").method == "f16" ? 0 : apart),
        shape_(shape) {}

  bool asked() const { return asked_; }
  // Near `rows`, `most` at most.
  int of(HeadIndex head, int rows, int most) const {
    const int heads = shape_.layers * shape_.kv_heads;
    const int index = head.layer * shape_.kv_heads + head.kv_head;
    const int room = rows - apart_ + kTierBlockSlots * (2 * index + 1) / (2 * heads);
    const int blocks = std::max(room, 0) / kTierBlockSlots;
    return std::clamp(apart_ + blocks * kTierBlockSlots, std::min(apart_, rows), most);
  }

 private:
  bool asked_;
  int apart_;
  BudgetContext shape_;
};

}  // namespace kvkeep
