// The attention that queries still to come are expected to pay (Expected Attention, Devoto et al.
// 2025, arXiv 2510.00636). Queries before RoPE are taken as Gaussian with the mean m and the
// covariance C of those seen so far; turned to the next `future` positions, E[exp(q.k / sqrt d)] is
// exp(m.k / sqrt d + k'Ck / 2d), which is normalised over the tokens, averaged over the q_heads of
// the group, and weighted by the size of the value it would bring.
#include <algorithm>
#include <cmath>
#include <vector>

#include "codec/query_stats.h"
#include "codec/scorer/scorer.h"
#include "kernels/gemm.h"
#include "kernels/layout.h"

namespace kvkeep {
namespace {

// logits -> probabilities
void normalise(std::span<float> logits) {
  const float top = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (float& x : logits) sum += x = std::exp(x - top);
  for (float& x : logits) x = static_cast<float>(x / sum);
}

class Expected : public Scorer {
 public:
  Expected(int future, bool by_value) : future_(future), by_value_(by_value) {}

  void rank(const RankInput& input, std::span<float> scores) const override {
    const QueryStats* queries = input.queries;
    if (scores.empty() || !queries || queries->gqa_ratio() == 0) return;
    std::fill(scores.begin(), scores.end(), 0.0f);
    std::vector<float> logits(scores.size()), sizes(scores.size(), 1.0f);
    for (int g = 0; g < queries->gqa_ratio(); ++g) {
      const auto moments =
          queries->foretell({input.layer, input.kv_head}, g, input.tokens, future_);
      for_each_row(input, [&](size_t i, const float* key, const float* value) {
        logits[i] = logit(key, moments, input.head_dim);
        if (by_value_ && g == 0) sizes[i] = std::sqrt(dot(value, value, input.head_dim));
      });
      normalise(logits);
      for (size_t i = 0; i < scores.size(); ++i) scores[i] += logits[i];
    }
    for (size_t i = 0; i < scores.size(); ++i)
      scores[i] *= sizes[i] / static_cast<float>(queries->gqa_ratio());
  }

 private:
  static float dot(const float* a, const float* b, int n) {
    float sum = 0.0f;
    for (int c = 0; c < n; ++c) sum += a[c] * b[c];
    return sum;
  }

  static float logit(const float* key, const QueryStats::Moments& moments, int d) {
    float product[kMaxHeadDim];
    gemm_nn(1, d, d, 1.0f, key, d, moments.covariance.data(), d, 0.0f, product, d);
    const auto size = static_cast<float>(d);
    return dot(moments.mean.data(), key, d) / std::sqrt(size) + dot(product, key, d) / (2 * size);
  }

  int future_;
  bool by_value_;
};

}  // namespace

std::unique_ptr<Scorer> make_scorer_expected(const Plan::Slot& slot) {
  return std::make_unique<Expected>(static_cast<int>(slot.number("future")),
                                    slot.param("value") == "norm");
}

}  // namespace kvkeep
