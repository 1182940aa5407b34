// What a model expects next, from its logits; sums are in double so that figures of a long text do
// not depend on the order of summation.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

namespace kvkeep {

inline int32_t most_likely(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// log of the sum of exp(logits): what is to be subtracted to make them log-probabilities.
inline double log_total(std::span<const float> logits) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) sum += std::exp(x - max);
  return std::log(sum) + max;
}

// -log softmax(logits)[token]
inline double token_nll(std::span<const float> logits, int32_t token) {
  return log_total(logits) - logits[static_cast<size_t>(token)];
}

// KL(p || q) in nats of the softmax of two rows; never below 0, whatever rounding does.
inline double kl_divergence(std::span<const float> p, std::span<const float> q) {
  const double p_total = log_total(p), q_total = log_total(q);
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double log_p = p[i] - p_total;
    sum += std::exp(log_p) * (log_p - (q[i] - q_total));
  }
  return std::max(sum, 0.0);
}

}  // namespace kvkeep
