// A softmax over part of the tokens, in a form that merges with the other parts exactly:
// (max of the logits, sum of exp(logit - max), sum of exp(logit - max) * v). Tiers, windows and
// ranges of tokens are attended on their own and merged in a fixed order (as in FlashAttention's
// split over keys, Dao et al. 2023).
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "codec/scorer/scorer.h"

namespace kvkeep {

struct AttentionState {
  float max = -std::numeric_limits<float>::infinity();
  float sum = 0.0f;
  float* out = nullptr;  // [dim], not owned
};

// The factor that rescales values taken with maximum `from` to maximum `to`; from <= to.
inline float rescale(float from, float to) {
  return from == to ? 1.0f : std::exp(from - to);  // exp(-inf) = 0: an empty state
}

// into += part; a state without tokens changes nothing.
inline void merge(AttentionState* into, const AttentionState& part, int dim) {
  if (part.sum == 0.0f) return;
  const float top = std::max(into->max, part.max);
  const float a = rescale(into->max, top), b = rescale(part.max, top);
  for (int c = 0; c < dim; ++c) into->out[c] = a * into->out[c] + b * part.out[c];
  into->sum = a * into->sum + b * part.sum;
  into->max = top;
}

// What the probabilities of one q_head count in the mass of its kv_head's slots.
inline float head_weight(GqaAggregate gqa, int gqa_ratio) {
  return gqa == GqaAggregate::mean ? 1.0f / static_cast<float>(gqa_ratio) : 1.0f;
}

// Makes of weights, which times `factor` are a row's probabilities, what the row gives each token
// when it sees `rows` of them; returns the factor that now belongs to them.
inline float cast_ballots(Ballot ballot, float factor, int rows, std::span<float> weights) {
  if (ballot == Ballot::mass) return factor;
  const float mean = 1.0f / (factor * static_cast<float>(rows));
  for (float& weight : weights) weight = weight < mean ? -1.0f : 0.0f;
  return 1.0f;
}

}  // namespace kvkeep
