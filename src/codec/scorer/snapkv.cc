// Observation window: only the last `window` rows vote, and a token inherits the best vote among
// its neighbours, which keeps whole phrases (SnapKV, Li et al. 2024, arXiv 2404.14469). While
// decoding the window slides: with n new rows the older votes fade by n / window.
#include <algorithm>
#include <vector>

#include "codec/scorer/scorer.h"

namespace kvkeep {
namespace {

class SnapKv : public Scorer {
 public:
  SnapKv(int window, int pool) : window_(window), pool_(pool) {}

  bool observes_row(int position, int last) const override { return position > last - window_; }

  float fade(int rows) const override {
    return 1.0f - static_cast<float>(std::min(rows, window_)) / static_cast<float>(window_);
  }

  // Maximum over the present neighbours within pool / 2 positions.
  void rank(const RankInput& input, std::span<float> scores) const override {
    if (pool_ <= 1) return;
    const std::vector<float> votes(scores.begin(), scores.end());
    const int reach = pool_ / 2;
    size_t first = 0;
    for (size_t i = 0; i < scores.size(); ++i) {
      while (input.positions[first] < input.positions[i] - reach) ++first;
      for (size_t j = first; j < votes.size() && input.positions[j] <= input.positions[i] + reach;
           ++j)
        scores[i] = std::max(scores[i], votes[j]);
    }
  }

 private:
  int window_, pool_;
};

}  // namespace

std::unique_ptr<Scorer> make_scorer_snapkv(const Plan::Slot& slot) {
  return std::make_unique<SnapKv>(static_cast<int>(slot.number("window")),
                                  static_cast<int>(slot.number("pool")));
}

// MorphKV (Ghadia et al. 2025, arXiv 2503.00979) ranks by the attention of the newest rows alone.
std::unique_ptr<Scorer> make_scorer_morphkv(const Plan::Slot& slot) {
  return std::make_unique<SnapKv>(static_cast<int>(slot.number("window")), 1);
}

// TOVA (Oren et al. 2024, arXiv 2401.06104) asks the last row alone.
std::unique_ptr<Scorer> make_scorer_tova(const Plan::Slot&) {
  return std::make_unique<SnapKv>(1, 1);
}

}  // namespace kvkeep
