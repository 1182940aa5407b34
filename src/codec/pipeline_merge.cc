// Eviction with merging, where a plan's low level says so.
#include <cmath>

#include "codec/demote.h"
#include "codec/pipeline.h"
#include "kernels/isa.h"

namespace kvkeep {

// Rows that are about to be evicted go into those that stay; pinned ones take nothing.
void Pipeline::merge_away(Sequence* cache, HeadIndex head, std::span<const int> slots, int tokens) {
  Tier& tier = cache->tier(head.layer, head.kv_head, 0);
  const int lane = tier.shape().mass_lane(), d = context_.head_dim;
  const auto width = static_cast<size_t>(d);
  Ranking ranking = rank(*cache, head, 0, tokens, tier.size() - static_cast<int>(slots.size()));
  const std::vector<int>& order = ranking.slots;
  MergeRows rows;
  rows.dim = d;
  rows.k.resize(order.size() * width);
  rows.v.resize(rows.k.size());
  gather_rows(levels_[0], tier, order, rows.k.data(), rows.v.data());
  rows.scores = std::move(ranking.scores);
  std::vector<uint8_t> leaves(order.size());  // by slot
  for (int slot : slots) leaves[static_cast<size_t>(slot)] = 1;
  for (size_t i = 0; i < order.size(); ++i) {
    rows.masses.push_back(std::exp(tier.score(order[i], lane)));
    rows.fates.push_back(leaves[static_cast<size_t>(order[i])] ? MergeFate::leaves
                         : ranking.pins[i] > 0                 ? MergeFate::exact
                                                               : MergeFate::takes);
  }
  const std::vector<uint8_t> changed = merger_->merge(head, &rows);
  uint16_t row[kMaxHeadDim];
  for (size_t i = 0; i < order.size(); ++i) {
    if (!changed[i]) continue;
    const int slot = order[i], block = slot / kBlockTokens, at = slot % kBlockTokens;
    kernels().f32_to_f16(rows.k.data() + i * width, row, d);
    put_row_f16(levels_[0].k, Side::key, tier.k_part(block), at, row);
    kernels().f32_to_f16(rows.v.data() + i * width, row, d);
    put_row_f16(levels_[0].v, Side::value, tier.v_part(block), at, row);
    tier.set_score(slot, std::log(rows.masses[i]), lane);
  }
}

}  // namespace kvkeep
