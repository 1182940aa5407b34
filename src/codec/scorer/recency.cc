// The newer a token, the higher its score: with sinks this is StreamingLLM's window
// (Xiao et al. 2023, arXiv 2309.17453).
#include "codec/scorer/scorer.h"

namespace kvkeep {
namespace {

class Recency : public Scorer {
 public:
  void rank(const RankInput& input, std::span<float> scores) const override {
    for (size_t i = 0; i < scores.size(); ++i) scores[i] = static_cast<float>(input.positions[i]);
  }
};

}  // namespace

std::unique_ptr<Scorer> make_scorer_recency(const Plan::Slot&) {
  return std::make_unique<Recency>();
}

}  // namespace kvkeep
