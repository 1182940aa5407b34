// The same number of tokens in every layer and kv_head.
#include "codec/budget/budget.h"

namespace kvkeep {
namespace {

class Uniform : public Budget {
 public:
  using Budget::Budget;
  std::unique_ptr<Budget> clone() const override { return std::make_unique<Uniform>(*this); }

 private:
  int spread(HeadIndex, const Bounds& bounds) const override { return bounds.even; }
};

}  // namespace

Result<std::unique_ptr<Budget>> make_budget_uniform(const Plan& plan,
                                                    const BudgetContext& context) {
  return std::make_unique<Uniform>(plan, context);
}

}  // namespace kvkeep
