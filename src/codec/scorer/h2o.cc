// Heavy hitters: the attention a token has received from every row since the prompt began
// (Zhang et al. 2023, arXiv 2306.14048). Under GQA the rows of all q_heads of a kv_head count.
// Early tokens are visible to more rows and gain from it; that bias is part of the method, and
// norm=rows removes it: mass per row that could see the token.
#include "codec/scorer/scorer.h"

namespace kvkeep {
namespace {

class H2o : public Scorer {
 public:
  explicit H2o(bool per_row) : per_row_(per_row) {}

  void rank(const RankInput& input, std::span<float> scores) const override {
    if (!per_row_) return;
    for (size_t i = 0; i < scores.size(); ++i)
      scores[i] /= static_cast<float>(input.tokens - input.positions[i]);
  }

 private:
  bool per_row_;
};

}  // namespace

std::unique_ptr<Scorer> make_scorer_h2o(const Plan::Slot& slot) {
  return std::make_unique<H2o>(slot.param("norm") == "rows");
}

}  // namespace kvkeep
