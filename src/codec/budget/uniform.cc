// The same number of tokens in every layer and kv_head, or the nearest whole blocks.
#include "codec/budget/whole_blocks.h"

namespace kvkeep {
namespace {

class Uniform : public Budget {
 public:
  Uniform(const Plan& plan, const BudgetContext& shape)
      : Budget(plan, shape), blocks_(plan, shape, sinks() + window()) {}
  std::unique_ptr<Budget> clone() const override { return std::make_unique<Uniform>(*this); }

 private:
  int spread(HeadIndex head, const Bounds& bounds) const override {
    const bool all = keep() + mid_keep() >= 1 && bounds.even == bounds.most;
    if (!blocks_.asked() || all) return bounds.even;
    return blocks_.of(head, bounds.even, bounds.most);
  }

  WholeBlocks blocks_;
};

}  // namespace

Result<std::unique_ptr<Budget>> make_budget_uniform(const Plan& plan,
                                                    const BudgetContext& context) {
  return std::make_unique<Uniform>(plan, context);
}

}  // namespace kvkeep
