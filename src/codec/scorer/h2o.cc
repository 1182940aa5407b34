// Heavy hitters: the attention a token has received from every row since the prompt began
// (Zhang et al. 2023, arXiv 2306.14048). Under GQA the rows of all q_heads of a kv_head count.
// Early tokens are visible to more rows and gain from it; that bias is part of the method.
#include "codec/scorer/scorer.h"

namespace kvkeep {
namespace {

class H2o : public Scorer {
 public:
  void update(const ScoreUpdate& update) const override {
    for (size_t i = 0; i < update.scores.size(); ++i) update.scores[i] += update.mass[i];
  }
};

}  // namespace

std::unique_ptr<Scorer> make_scorer_h2o(const Plan::Slot&) { return std::make_unique<H2o>(); }

}  // namespace kvkeep
