// Persistence of importance (Scissorhands, Liu et al. 2023, arXiv 2305.17118): of the last `window`
// rows, each votes against every token to which it pays less than the mean of what it sees, and the
// tokens with the most votes against them leave. While decoding the window slides: with n new rows
// the older votes fade by n / window. Under GQA the votes of a row's q_heads are averaged.
#include <algorithm>

#include "codec/scorer/scorer.h"

namespace kvkeep {
namespace {

class Scissorhands : public Scorer {
 public:
  explicit Scissorhands(int window) : window_(window) {}

  Ballot ballot() const override { return Ballot::below_mean; }
  bool observes_row(int position, int last) const override { return position > last - window_; }

  float fade(int rows) const override {
    return 1.0f - static_cast<float>(std::min(rows, window_)) / static_cast<float>(window_);
  }

 private:
  int window_;
};

}  // namespace

std::unique_ptr<Scorer> make_scorer_scissorhands(const Plan::Slot& slot) {
  return std::make_unique<Scissorhands>(static_cast<int>(slot.number("window")));
}

}  // namespace kvkeep
