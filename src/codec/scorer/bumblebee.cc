// A summary that is important and diverse (BumbleBee, Kumari et al. 2024, COLM): of the rows that
// may stay, each next one is that which adds most to
//   diversity * (how well the keys kept so far stand for all keys: mean of the largest cosine)
//   + (1 - diversity) * (square root of the attention share kept so far).
// Both parts have diminishing returns, so a gain computed earlier bounds the gain now, and few have
// to be computed again for each pick. "All keys" are up to `clients` of them, evenly spaced, which
// keeps the cost linear in the text; the paper compares all with all, and while decoding swaps row
// by row where here the choice is made anew for every batch that leaves.
#include <algorithm>
#include <cmath>
#include <queue>
#include <vector>

#include "codec/scorer/scorer.h"
#include "kernels/gemm.h"

namespace kvkeep {
namespace {

// Directions of some rows, [rows][head_dim].
std::vector<float> directions(const RankInput& input, size_t every, size_t count) {
  const auto d = static_cast<size_t>(input.head_dim);
  std::vector<float> rows(count * d);
  for_each_row(input, [&](size_t i, const float* key, const float*) {
    if (i % every != 0 || i / every >= count) return;
    float square = 0.0f;
    for (size_t c = 0; c < d; ++c) square += key[c] * key[c];
    const float scale = square > 0.0f ? 1.0f / std::sqrt(square) : 0.0f;
    for (size_t c = 0; c < d; ++c) rows[i / every * d + c] = scale * key[c];
  });
  return rows;
}

// What is kept so far, and what a row would add to it.
class Summary {
 public:
  Summary(const RankInput& input, std::span<const float> attention, double diversity,
          size_t clients)
      : attention_(attention), diversity_(diversity) {
    const size_t n = attention.size();
    const size_t every = (n + clients - 1) / clients;
    clients_ = (n + every - 1) / every;
    const auto all = directions(input, 1, n), some = directions(input, every, clients_);
    likeness_.resize(n * clients_);
    const int dim = input.head_dim, columns = static_cast<int>(clients_);
    gemm_nt(static_cast<int>(n), columns, dim, 1.0f, all.data(), dim, some.data(), dim, 0.0f,
            likeness_.data(), columns);
    for (float& cosine : likeness_) cosine = std::max(cosine, 0.0f);
    best_.resize(clients_);
    for (float a : attention) total_ += std::max(a, 0.0f);
  }

  float gain(size_t row) const {
    const float* like = likeness_.data() + row * clients_;
    double covered = 0.0;
    for (size_t j = 0; j < clients_; ++j) covered += std::max(like[j] - best_[j], 0.0f);
    const double share = std::sqrt(kept_ + part(row)) - std::sqrt(kept_);
    return static_cast<float>(diversity_ * covered / static_cast<double>(clients_) +
                              (1 - diversity_) * share);
  }

  void keep(size_t row) {
    const float* like = likeness_.data() + row * clients_;
    for (size_t j = 0; j < clients_; ++j) best_[j] = std::max(best_[j], like[j]);
    kept_ += part(row);
  }

 private:
  double part(size_t row) const {
    return total_ > 0.0 ? std::max(attention_[row], 0.0f) / total_ : 0.0;
  }

  std::span<const float> attention_;
  double diversity_, total_ = 0.0, kept_ = 0.0;
  size_t clients_;
  std::vector<float> likeness_;  // [rows][clients]
  std::vector<float> best_;      // [clients]
};

class BumbleBee : public Scorer {
 public:
  BumbleBee(double diversity, int clients)
      : diversity_(diversity), clients_(static_cast<size_t>(clients)) {}

  // Rows that stay score 1 and more, the earlier they were picked the higher; the others what they
  // would have added at most, which is below 1.
  void rank(const RankInput& input, std::span<float> scores) const override {
    if (scores.empty()) return;
    const std::vector<float> attention(scores.begin(), scores.end());
    Summary summary(input, attention, diversity_, clients_);
    int places = std::min(input.keep, static_cast<int>(scores.size()));
    using Bound = std::pair<float, size_t>;  // of equal gains the later row comes first
    std::priority_queue<Bound> bounds;
    std::vector<int> computed(scores.size());  // at how many places left
    for (size_t i = 0; i < scores.size(); ++i) {
      if (input.pinned.empty() || !input.pinned[i]) continue;
      summary.keep(i);
      scores[i] = static_cast<float>(scores.size());
      --places;
    }
    for (size_t i = 0; i < scores.size(); ++i)
      if (input.pinned.empty() || !input.pinned[i]) bounds.push({summary.gain(i), i});
    std::fill(computed.begin(), computed.end(), places);
    while (places > 0 && !bounds.empty()) {
      const size_t row = bounds.top().second;
      bounds.pop();
      if (computed[row] != places) {
        computed[row] = places;
        bounds.push({summary.gain(row), row});
        continue;
      }
      summary.keep(row);
      scores[row] = static_cast<float>(places--);
    }
    for (; !bounds.empty(); bounds.pop()) scores[bounds.top().second] = 0.999f * bounds.top().first;
  }

 private:
  double diversity_;
  size_t clients_;
};

}  // namespace

std::unique_ptr<Scorer> make_scorer_bumblebee(const Plan::Slot& slot) {
  return std::make_unique<BumbleBee>(slot.number("diversity"),
                                     static_cast<int>(slot.number("clients")));
}

}  // namespace kvkeep
