// Fewer tokens the deeper the layer (PyramidKV, Cai et al. 2024, arXiv 2406.02069): attention is
// spread wide in the first layers and gathers on few tokens in the last. Above what is pinned, the
// last layer gets 1 / beta of the mean, the first as much more, and those between lie on the line.
// Where the first layer would get more than all tokens, the line is made flatter.
#include <algorithm>
#include <cmath>

#include "codec/budget/budget.h"

namespace kvkeep {
namespace {

class Pyramid : public Budget {
 public:
  Pyramid(const Plan& plan, const BudgetContext& context)
      : Budget(plan, context), beta_(plan.slot("budget").number("beta")) {}
  std::unique_ptr<Budget> clone() const override { return std::make_unique<Pyramid>(*this); }

 private:
  // What layers 0 .. layer-1 hold together is rounded, so that no token is lost between layers.
  int spread(HeadIndex head, const Bounds& bounds) const override {
    const double even = bounds.even, least = bounds.least;
    const double last = std::max(least + (even - least) / beta_, 2 * even - bounds.most);
    const double first = 2 * even - last;
    const double step = context().layers > 1 ? (first - last) / (context().layers - 1) : 0;
    const auto below = [&](int layer) {
      return std::floor(layer * first - step * layer * (layer - 1) / 2 + 0.5);
    };
    if (context().layers == 1) return bounds.even;
    return static_cast<int>(below(head.layer + 1) - below(head.layer));
  }

  double beta_;
};

}  // namespace

Result<std::unique_ptr<Budget>> make_budget_pyramid(const Plan& plan,
                                                    const BudgetContext& context) {
  return std::make_unique<Pyramid>(plan, context);
}

}  // namespace kvkeep
