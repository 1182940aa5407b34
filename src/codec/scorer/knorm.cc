// Keys of small L2 norm attract attention (Devoto et al. 2024, arXiv 2406.11430): the smaller, the
// higher the score. Needs no attention and keeps no score. In the first layers the relation does
// not hold; there the newest tokens win.
#include <cmath>

#include "codec/scorer/scorer.h"

namespace kvkeep {
namespace {

class KeyNorm : public Scorer {
 public:
  explicit KeyNorm(int skip) : skip_(skip) {}

  void rank(const RankInput& input, std::span<float> scores) const override {
    if (input.layer < skip_) {
      for (size_t i = 0; i < scores.size(); ++i) scores[i] = static_cast<float>(input.positions[i]);
      return;
    }
    for_each_row(input, [&](size_t i, const float* key, const float*) {
      float sum = 0.0f;
      for (int c = 0; c < input.head_dim; ++c) sum += key[c] * key[c];
      scores[i] = -std::sqrt(sum);
    });
  }

 private:
  int skip_;
};

}  // namespace

std::unique_ptr<Scorer> make_scorer_knorm(const Plan::Slot& slot) {
  return std::make_unique<KeyNorm>(static_cast<int>(slot.number("skip")));
}

}  // namespace kvkeep
