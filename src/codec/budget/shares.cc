// Budgets whose shape is known beforehand: what is above the pinned tokens is spread by a weight
// for every (layer, kv_head) whose mean is 1. Where the largest share would be more than all
// tokens, all weights come nearer to 1, so that the sum stays.
//
// pyramid (PyramidKV, Cai et al. 2024, arXiv 2406.02069): attention is spread wide in the first
// layers and gathers on few tokens in the last, so weights fall along a line, to 1 / beta.
// shares: weights that were found elsewhere, for layers or for heads.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "base/fail.h"
#include "codec/budget/whole_blocks.h"

namespace kvkeep {
namespace {

class Shares : public Budget {
 public:
  // weights [layers][kv_heads], not all 0
  Shares(const Plan& plan, const BudgetContext& shape, const std::vector<double>& weights)
      : Budget(plan, shape), blocks_(plan, shape, sinks() + window()) {
    const double mean =
        std::accumulate(weights.begin(), weights.end(), 0.0) / static_cast<double>(weights.size());
    edges_.push_back(0.0);
    for (double weight : weights) edges_.push_back(edges_.back() + weight / mean);
    most_ = *std::max_element(weights.begin(), weights.end()) / mean;
  }
  std::unique_ptr<Budget> clone() const override { return std::make_unique<Shares>(*this); }
  size_t state_bytes() const override { return edges_.size() * sizeof(double); }

 private:
  // Rounded where two heads meet, so that no token is lost between them.
  int spread(HeadIndex head, const Bounds& bounds) const override {
    const double even = bounds.even, free = even - bounds.least;
    const double room = bounds.most - even, excess = free * (most_ - 1);
    const double bend = excess > room ? room / excess : 1.0;
    const auto below = [&](int i) {
      const double own = edges_[static_cast<size_t>(i)] - i;
      return std::lround(i * even + free * bend * own);
    };
    const int index = head.layer * context().kv_heads + head.kv_head;
    const int rows = static_cast<int>(below(index + 1) - below(index));
    return blocks_.asked() ? blocks_.of(head, rows, bounds.most) : rows;
  }

  WholeBlocks blocks_;

  std::vector<double> edges_;  // [layers * kv_heads + 1]: weights of the heads before
  double most_;
};

// A line through `points` at `layers` equal steps, every layer's weight for each of its heads.
std::vector<double> stretched(const std::vector<double>& points, const BudgetContext& shape) {
  std::vector<double> weights;
  for (int layer = 0; layer < shape.layers; ++layer) {
    const double last = static_cast<double>(points.size() - 1);
    const double at = shape.layers > 1 ? last * layer / (shape.layers - 1) : 0.0;
    const auto left = static_cast<size_t>(at), right = std::min(left + 1, points.size() - 1);
    const double part = at - static_cast<double>(left);
    weights.insert(weights.end(), static_cast<size_t>(shape.kv_heads),
                   (1 - part) * points[left] + part * points[right]);
  }
  return weights;
}

}  // namespace

Result<std::unique_ptr<Budget>> make_budget_pyramid(const Plan& plan, const BudgetContext& shape) {
  const double last = 1 / plan.slot("budget").number("beta");
  return std::make_unique<Shares>(plan, shape, stretched({2 - last, last}, shape));
}

Result<std::unique_ptr<Budget>> make_budget_shares(const Plan& plan, const BudgetContext& shape) {
  const std::string text = plan.slot("budget").param("of");
  std::vector<double> weights;
  for (const char *at = text.data(), *end = at + text.size(); at < end; ++at)
    at = std::from_chars(at, end, weights.emplace_back()).ptr;
  const auto layers = static_cast<size_t>(shape.layers);
  const size_t heads = layers * static_cast<size_t>(shape.kv_heads);
  if (weights.size() > layers && weights.size() != heads)
    return bad_input(
        "plan: slot 'budget', shares: of={} has {} numbers; allowed: 1 to {}, stretched over the "
        "layers, or {}, one for every kv_head",
        text, weights.size(), layers, heads);
  if (weights.size() <= layers) weights = stretched(weights, shape);
  if (*std::max_element(weights.begin(), weights.end()) == 0)
    return bad_input("plan: slot 'budget', shares: of={}: allowed are numbers that are not all 0",
                     text);
  return std::make_unique<Shares>(plan, shape, weights);
}

}  // namespace kvkeep
