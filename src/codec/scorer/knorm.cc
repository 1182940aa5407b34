// Keys of small L2 norm attract attention (Devoto et al. 2024, arXiv 2406.11430): the smaller, the
// higher the score. Needs no attention at all, and the norm is taken once, when a key enters. In
// the first layers the relation does not hold; there the newest tokens win.
#include <cmath>

#include "codec/scorer/scorer.h"

namespace kvkeep {
namespace {

class KeyNorm : public Scorer {
 public:
  explicit KeyNorm(int skip) : skip_(skip) {}

  float first_score(std::span<const float> key) const override {
    float sum = 0.0f;
    for (float x : key) sum += x * x;
    return -std::sqrt(sum);
  }

  void rank(const RankInput& input, std::span<float> scores) const override {
    if (input.layer >= skip_) return;
    for (size_t i = 0; i < scores.size(); ++i) scores[i] = static_cast<float>(input.positions[i]);
  }

 private:
  int skip_;
};

}  // namespace

std::unique_ptr<Scorer> make_scorer_knorm(const Plan::Slot& slot) {
  return std::make_unique<KeyNorm>(static_cast<int>(slot.number("skip")));
}

}  // namespace kvkeep
