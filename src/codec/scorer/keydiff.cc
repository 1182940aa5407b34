// Keys unlike the others (KeyDiff, Park et al. 2025, arXiv 2504.15364): the less a key points where
// the mean of all keys points, the higher its score. Needs no attention and keeps no score.
#include <cmath>
#include <vector>

#include "codec/scorer/scorer.h"

namespace kvkeep {
namespace {

float length(const float* row, size_t n) {
  float sum = 0.0f;
  for (size_t c = 0; c < n; ++c) sum += row[c] * row[c];
  return std::sqrt(sum);
}

class KeyDiff : public Scorer {
 public:
  void rank(const RankInput& input, std::span<float> scores) const override {
    const auto d = static_cast<size_t>(input.head_dim);
    std::vector<float> mean(d);  // of the keys' directions
    for_each_row(input, [&](size_t, const float* key, const float*) {
      const float size = length(key, d);
      for (size_t c = 0; size > 0.0f && c < d; ++c) mean[c] += key[c] / size;
    });
    const float mean_size = length(mean.data(), d);
    for_each_row(input, [&](size_t i, const float* key, const float*) {
      float dot = 0.0f;
      for (size_t c = 0; c < d; ++c) dot += key[c] * mean[c];
      const float sizes = mean_size * length(key, d);
      scores[i] = sizes > 0.0f ? -dot / sizes : 0.0f;
    });
  }
};

}  // namespace

std::unique_ptr<Scorer> make_scorer_keydiff(const Plan::Slot&) {
  return std::make_unique<KeyDiff>();
}

}  // namespace kvkeep
