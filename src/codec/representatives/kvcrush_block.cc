// KVCrush in blocks, as OpenVINO GenAI has it (block_picks.h): whole blocks of the rows that are
// not pinned stay or leave by the sum of their scores, and some of those that would leave are
// picked to stay. What differs from OpenVINO: places come out of the budget and are not added to
// it; random bits are ours; sets are per kv_head. The tail that fills no block stays, and so do
// the best of the rows left where places do not fill a block.
#include <algorithm>
#include <numeric>

#include "codec/demote.h"
#include "codec/representatives/block_picks.h"
#include "codec/representatives/representatives.h"
#include "codec/representatives/signature.h"

namespace kvkeep {

std::vector<uint8_t> best_half(std::span<const float> scores) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto middle = order.begin() + static_cast<ptrdiff_t>(scores.size() / 2);
  std::nth_element(order.begin(), middle, order.end(), [&](size_t a, size_t b) {
    return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
  });
  std::vector<uint8_t> bits(scores.size());
  for (auto it = order.begin(); it != middle; ++it) bits[*it] = 1;
  return bits;
}

std::vector<size_t> block_picks(std::span<const float> scores, size_t block,
                                std::span<const uint8_t> evicted, std::span<const uint8_t> anchor,
                                size_t count) {
  const std::vector<uint8_t> bits = best_half(scores);
  std::vector<std::pair<size_t, size_t>> order;  // distance, block
  for (size_t b = 0; b < evicted.size(); ++b) {
    size_t distance = 0;
    for (size_t i = 0; i < block; ++i) distance += bits[b * block + i] != anchor[i];
    if (evicted[b]) order.emplace_back(distance, b);
  }
  std::sort(order.begin(), order.end());
  const size_t picked = std::min(count, order.size());
  std::vector<size_t> picks;
  for (size_t i = 0; i < picked; ++i) picks.push_back(order[i * (order.size() / picked)].second);
  std::sort(picks.begin(), picks.end());
  return picks;
}

namespace {

class KvCrushBlock : public Representatives {
 public:
  explicit KvCrushBlock(const Plan::Slot& slot)
      : Representatives(slot),
        anchor_(slot.param("anchor")),
        block_(static_cast<size_t>(slot.number("block"))),
        seed_(static_cast<uint64_t>(slot.number("seed"))) {}

  Stays choose(int layer, int, std::span<const HeadRows> heads) const override {
    Stays stays;
    for (const HeadRows& rows : heads) stays.push_back(choose(layer, rows));
    return stays;
  }

 private:
  std::vector<uint8_t> choose(int layer, const HeadRows& rows) const {
    std::vector<uint8_t> stays(rows.size(), 1);
    if (rows.leave == 0) return stays;
    std::vector<size_t> free;  // rows not pinned
    std::vector<float> scores;
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows.pinned[i]) continue;
      free.push_back(i);
      scores.push_back(rows.scores[i]);
      stays[i] = 0;
    }
    size_t places = free.size() - static_cast<size_t>(rows.leave);
    const size_t blocks = free.size() / block_, tail = std::min(places, free.size() % block_);
    places -= tail;
    const size_t extra = std::min(places, static_cast<size_t>(rows.representatives)) / block_;
    const size_t kept = places / block_ - extra;
    scores.resize(blocks * block_);

    std::vector<uint8_t> evicted = lowest_blocks(scores, blocks - kept);
    std::vector<size_t> picks;
    if (extra > 0) picks = block_picks(scores, block_, evicted, anchor(layer, scores), extra);
    for (size_t b : picks) evicted[b] = 0;
    for (size_t b = 0; b < blocks; ++b)
      for (size_t i = 0; !evicted[b] && i < block_; ++i) stays[free[b * block_ + i]] = 1;
    for (size_t i = free.size() - tail; i < free.size(); ++i) stays[free[i]] = 1;
    fill(rows, &stays);
    return stays;
  }

  std::vector<uint8_t> lowest_blocks(std::span<const float> scores, size_t count) const {
    std::vector<uint8_t> evicted(scores.size() / block_);
    std::vector<uint64_t> orders(evicted.size());
    for (size_t b = 0; b < orders.size(); ++b) {
      const auto first = scores.begin() + static_cast<ptrdiff_t>(b * block_);
      const float sum = std::accumulate(first, first + static_cast<ptrdiff_t>(block_), 0.0f);
      orders[b] = demotion_order(0, sum, b);
    }
    if (count == 0) return evicted;
    for (size_t b : lowest(orders, static_cast<int>(count))) evicted[b] = 1;
    return evicted;
  }

  std::vector<uint8_t> anchor(int layer, std::span<const float> scores) const {
    if (anchor_ != "mean")
      return fixed_anchor(anchor_, block_, seed_ + (static_cast<uint64_t>(layer) << 32));
    const std::vector<uint8_t> bits = best_half(scores);
    std::vector<size_t> set(block_);
    for (size_t i = 0; i < bits.size(); ++i) set[i % block_] += bits[i];
    std::vector<uint8_t> anchor(block_);
    for (size_t i = 0; i < block_; ++i) anchor[i] = 2 * set[i] > bits.size() / block_;
    return anchor;
  }

  // Places that are left go to the best rows that would leave.
  static void fill(const HeadRows& rows, std::vector<uint8_t>* stays) {
    const auto gone = static_cast<int>(std::count(stays->begin(), stays->end(), 0));
    std::vector<uint64_t> orders(rows.size());
    for (size_t i = 0; i < orders.size(); ++i)
      orders[i] = demotion_order((*stays)[i], rows.scores[i], i);
    if (gone == rows.leave) return;
    std::fill(stays->begin(), stays->end(), 1);
    for (size_t i : lowest(orders, rows.leave)) (*stays)[i] = 0;
  }

  std::string anchor_;
  size_t block_;
  uint64_t seed_;
};

}  // namespace

std::unique_ptr<Representatives> make_representatives_kvcrush_block(const Plan::Slot& slot) {
  return std::make_unique<KvCrushBlock>(slot);
}

}  // namespace kvkeep
