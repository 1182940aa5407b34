// KVCrush (Jha et al. 2025, arXiv 2503.00022), the paper's form: a token is described by one bit a
// head of its layer, "this head would keep it"; representatives are spread evenly over the
// candidates' Hamming distances to one anchor.
//
// A head's threshold is taken among the candidates of its kv_head. A token that a kv_head keeps for
// its score counts as kept by its heads, one that it evicted earlier as not kept: heads keep sets
// of their own here, and both are what the bit says. The distance is a projection on one line:
// tokens equally far from the anchor may be far from one another.
#include <algorithm>

#include "codec/representatives/representatives.h"
#include "codec/representatives/signature.h"
#include "kernels/planes.h"

namespace kvkeep {
namespace {

class KvCrush : public Representatives {
 public:
  explicit KvCrush(const Plan::Slot& slot)
      : Representatives(slot),
        anchor_(slot.param("anchor")),
        q_heads_(slot.param("bits") == "q_head"),
        median_(slot.param("threshold") == "median"),
        even_(slot.param("sample") == "even"),
        seed_(static_cast<uint64_t>(slot.number("seed"))) {}

  bool asks_head_scores() const override { return true; }
  bool asks_q_heads() const override { return q_heads_; }

  Stays choose(int layer, int tokens, std::span<const HeadRows> heads) const override {
    std::vector<std::vector<size_t>> among;
    size_t bits = 0;
    for (const HeadRows& rows : heads) {
      among.push_back(candidates(rows));
      bits += rows.size() ? rows.head_scores.size() / rows.size() : 0;
    }
    Signatures signatures(static_cast<int>(bits), tokens);
    size_t plane = 0;
    for (size_t h = 0; h < heads.size(); ++h) sign(heads[h], among[h], &signatures, &plane);

    Stays stays;
    for (size_t h = 0; h < heads.size(); ++h)
      stays.push_back(stay_but(heads[h], among[h], pick(layer, heads[h], among[h], signatures)));
    return stays;
  }

 private:
  // Bit i goes to positions[i], which ascend; a word is written once.
  static void scatter(std::span<const uint64_t> bits, std::span<const int32_t> positions,
                      uint64_t* to) {
    uint64_t word = 0;
    size_t at = 0;
    for (size_t i = 0; i < positions.size(); ++i) {
      const auto position = static_cast<size_t>(positions[i]);
      if (position / 64 != at) {
        to[at] |= word;
        word = 0;
        at = position / 64;
      }
      word |= (bits[i / 64] >> i % 64 & 1) << position % 64;
    }
    to[at] |= word;
  }

  // The planes of one kv_head, from *plane on.
  void sign(const HeadRows& rows, std::span<const size_t> among, Signatures* signatures,
            size_t* plane) const {
    const size_t n = rows.size(), words = signatures->words();
    if (n == 0) return;
    std::vector<uint64_t> kept(words), bits((n + 63) / 64);
    const std::vector<uint8_t> stays = stay_but(rows, among, {});
    for (size_t i = 0; i < n; ++i)
      kept[static_cast<size_t>(rows.positions[i]) / 64] |= uint64_t{stays[i]}
                                                           << rows.positions[i] % 64;
    const bool dense = rows.positions.back() + 1 == static_cast<int32_t>(n);
    const size_t k = median_ ? among.size() / 2 : static_cast<size_t>(rows.representatives);
    std::vector<uint16_t> own(among.size());
    for (size_t first = 0; first < rows.head_scores.size(); first += n) {
      const uint16_t* lane = rows.head_scores.data() + first;
      for (size_t i = 0; i < own.size(); ++i) own[i] = lane[among[i]];
      uint64_t* to = signatures->plane((*plane)++);
      plane_kernels().bits_above(lane, static_cast<int>(n), threshold_above(own, k),
                                 dense ? to : bits.data());
      if (!dense) scatter(bits, rows.positions, to);
      for (size_t w = 0; w < words; ++w) to[w] |= kept[w];
    }
  }

  std::vector<size_t> pick(int layer, const HeadRows& rows, std::span<const size_t> among,
                           const Signatures& signatures) const {
    if (rows.representatives == 0) return {};
    std::vector<uint64_t> marks(signatures.words());
    for (size_t row : among) {
      const auto position = static_cast<size_t>(rows.positions[row]);
      marks[position / 64] |= uint64_t{1} << position % 64;
    }
    const uint64_t seed = seed_ + (static_cast<uint64_t>(layer) << 32);
    const std::vector<uint8_t> anchor = anchor_ == "mean"
                                            ? mean_anchor(signatures, marks)
                                            : fixed_anchor(anchor_, signatures.heads(), seed);
    const std::vector<size_t> tokens =
        spread_over(signatures, anchor, marks, static_cast<size_t>(rows.representatives), even_);
    std::vector<size_t> picks;
    for (size_t i = 0; picks.size() < tokens.size(); ++i)  // both ascend
      if (static_cast<size_t>(rows.positions[among[i]]) == tokens[picks.size()]) picks.push_back(i);
    return picks;
  }

  std::string anchor_;
  bool q_heads_, median_, even_;
  uint64_t seed_;
};

}  // namespace

std::unique_ptr<Representatives> make_representatives_kvcrush(const Plan::Slot& slot) {
  return std::make_unique<KvCrush>(slot);
}

}  // namespace kvkeep
