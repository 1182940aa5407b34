// Keys of small L2 norm attract attention (Devoto et al. 2024, arXiv 2406.11430): the smaller, the
// higher the score. Needs no attention at all. In the first layers the relation does not hold;
// there the newest tokens win.
#include "codec/scorer/scorer.h"

namespace kvkeep {
namespace {

class KeyNorm : public Scorer {
 public:
  explicit KeyNorm(int skip) : skip_(skip) {}

  void rank(const RankInput& input, std::span<float> scores) const override {
    for (size_t i = 0; i < scores.size(); ++i)
      scores[i] =
          input.layer < skip_ ? static_cast<float>(input.positions[i]) : -input.key_norms[i];
  }

 private:
  int skip_;
};

}  // namespace

std::unique_ptr<Scorer> make_scorer_knorm(const Plan::Slot& slot) {
  return std::make_unique<KeyNorm>(static_cast<int>(slot.number("skip")));
}

}  // namespace kvkeep
