// Probe rows with causal normalisation (ZipCache, He et al. 2024, arXiv 2405.14256): a random share
// of rows votes, and a token's mass is divided by the number of voters that could see it, so that
// early tokens gain nothing from having been visible for longer. Rows are drawn by a hash of their
// position, the same in every layer and head; the paper adds the newest rows of the prompt, here
// the budget's `recent` share stands for them.
#include <cmath>

#include "base/rng.h"
#include "codec/scorer/scorer.h"

namespace kvkeep {
namespace {

class ZipCache : public Scorer {
 public:
  explicit ZipCache(double probe)
      : threshold_(static_cast<uint64_t>(std::ldexp(std::min(probe, 1.0), 32))) {}

  bool observes_row(int position, int) const override {
    return hash64(static_cast<uint64_t>(position)) >> 32 < threshold_;
  }

  void rank(const RankInput& input, std::span<float> scores) const override {
    int voters = 0, position = input.tokens;
    for (size_t i = scores.size(); i-- > 0;) {
      while (position > input.positions[i]) voters += observes_row(--position, 0) ? 1 : 0;
      // A token no voter has seen yet is too new to judge: it ranks above all others.
      scores[i] = voters > 0 ? scores[i] / static_cast<float>(voters) : 1e30f;
    }
  }

 private:
  uint64_t threshold_;
};

}  // namespace

std::unique_ptr<Scorer> make_scorer_zipcache(const Plan::Slot& slot) {
  return std::make_unique<ZipCache>(slot.number("probe"));
}

}  // namespace kvkeep
