// How surprised a model is by a token: -log softmax(logits)[token], summed in double so that the
// perplexity of a long text does not depend on the order of summation.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

namespace kvkeep {

inline double token_nll(std::span<const float> logits, int32_t token) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) sum += std::exp(x - max);
  return std::log(sum) + max - logits[static_cast<size_t>(token)];
}

}  // namespace kvkeep
