// A fixed pseudo-random score for every (layer, kv_head, position): the control that every other
// scorer has to beat.
#include "base/rng.h"
#include "codec/scorer/scorer.h"

namespace kvkeep {
namespace {

class Random : public Scorer {
 public:
  explicit Random(uint64_t seed) : seed_(seed) {}

  void rank(const RankInput& input, std::span<float> scores) const override {
    const uint64_t head = hash64(hash64(seed_ + static_cast<uint64_t>(input.layer)) +
                                 static_cast<uint64_t>(input.kv_head));
    for (size_t i = 0; i < scores.size(); ++i) {
      const uint64_t token = hash64(head ^ static_cast<uint64_t>(input.positions[i]));
      scores[i] = static_cast<float>(token >> 40) * 0x1p-24f;
    }
  }

 private:
  uint64_t seed_;
};

}  // namespace

std::unique_ptr<Scorer> make_scorer_random(const Plan::Slot& slot) {
  return std::make_unique<Random>(static_cast<uint64_t>(slot.number("seed")));
}

}  // namespace kvkeep
