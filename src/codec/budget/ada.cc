// More tokens for heads whose attention is spread wide (Ada-KV, Feng et al. 2024, arXiv
// 2407.11550): the heads of a layer compete for its tokens by their scores, each head's brought to
// a sum of 1, and none gets less than its pinned rows and `floor` of the mean.
//
// What a head holds then, as a multiple of the mean, is kept until the scores are followed again.
// Only rows that are still there compete, so a layer never asks for more than it has.
#include <algorithm>
#include <cmath>

#include "codec/budget/budget.h"

namespace kvkeep {
namespace {

struct Bid {
  float share;  // of its head's score
  int rank;     // within its head
  int head;
};

bool goes_first(const Bid& a, const Bid& b) {
  if (a.share != b.share) return a.share > b.share;
  return a.rank != b.rank ? a.rank < b.rank : a.head < b.head;
}

// A head's candidates from the best on.
std::vector<Bid> bids_of(int head, std::vector<float> scores) {
  std::vector<Bid> bids;
  if (scores.empty()) return bids;
  std::sort(scores.begin(), scores.end(), std::greater<>());
  double sum = 0.0;
  for (float& score : scores) sum += score = std::isfinite(score) ? score - scores.back() : 0.0f;
  for (size_t i = 0; i < scores.size(); ++i)
    bids.push_back(
        {sum > 0.0 ? static_cast<float>(scores[i] / sum) : 0.0f, static_cast<int>(i), head});
  return bids;
}

class Ada : public Budget {
 public:
  Ada(const Plan& plan, const BudgetContext& shape)
      : Budget(plan, shape),
        floor_(plan.slot("budget").number("floor")),
        edges_(static_cast<size_t>(shape.layers * (shape.kv_heads + 1))) {
    for (size_t i = 0; i < edges_.size(); ++i)
      edges_[i] = static_cast<float>(i % static_cast<size_t>(shape.kv_heads + 1));
  }
  std::unique_ptr<Budget> clone() const override { return std::make_unique<Ada>(*this); }
  size_t state_bytes() const override { return edges_.size() * sizeof(float); }
  bool follows_scores() const override { return true; }

  void follow(int layer, std::span<const HeadScores> heads, int tokens, int prompt) override {
    const Bounds high = high_bounds(tokens, prompt);
    const int even = mid_bounds(tokens, prompt).even;
    if (high.even == 0) return;
    const double least_share = std::max(floor_, static_cast<double>(high.least) / high.even);
    const auto least = static_cast<int>(std::ceil(least_share * even - 1e-9));
    std::vector<int> places;
    std::vector<Bid> bids;
    int left = even * static_cast<int>(heads.size());
    for (size_t h = 0; h < heads.size(); ++h) {
      const int present = heads[h].pinned + static_cast<int>(heads[h].scores.size());
      places.push_back(std::min(std::max(heads[h].pinned, least), present));
      left -= places.back();
      const auto own = bids_of(static_cast<int>(h), heads[h].scores);
      bids.insert(bids.end(), own.begin() + (places.back() - heads[h].pinned), own.end());
    }
    const size_t won = std::min(static_cast<size_t>(std::max(left, 0)), bids.size());
    std::nth_element(bids.begin(), bids.begin() + static_cast<ptrdiff_t>(won), bids.end(),
                     goes_first);
    for (size_t i = 0; i < won; ++i) ++places[static_cast<size_t>(bids[i].head)];
    float* edge = edges_.data() + layer * (context().kv_heads + 1);
    for (size_t h = 0; h < heads.size(); ++h)
      edge[h + 1] = edge[h] + static_cast<float>(places[h]) / static_cast<float>(even);
  }

 private:
  // Rounded where two heads meet, so that no token is lost between them.
  int spread(HeadIndex head, const Bounds& bounds) const override {
    const float* edge = edges_.data() + head.layer * (context().kv_heads + 1) + head.kv_head;
    return static_cast<int>(std::lround(double{edge[1]} * bounds.even) -
                            std::lround(double{edge[0]} * bounds.even));
  }

  double floor_;
  std::vector<float> edges_;  // [layers][kv_heads + 1]: places of the heads before, over the mean
};

}  // namespace

Result<std::unique_ptr<Budget>> make_budget_ada(const Plan& plan, const BudgetContext& context) {
  return std::make_unique<Ada>(plan, context);
}

}  // namespace kvkeep
