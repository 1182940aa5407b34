// The way down where representatives are chosen: all kv_heads of a layer together.
#include <algorithm>
#include <cstring>

#include "codec/demote.h"
#include "codec/pipeline.h"

namespace kvkeep {

// What representatives are chosen from. Where more must leave than is not pinned, none are: then
// `leave` is 0 here and choose() decides.
HeadRows Pipeline::gather(const Sequence& cache, HeadIndex head, int tokens, bool flush) const {
  const Tier& tier = cache.tier(head.layer, head.kv_head, layer_level_);
  const int leave = due(cache, head, layer_level_, tokens, flush);
  Ranking ranking = rank(cache, head, layer_level_, tokens, tier.size() - leave);
  HeadRows rows;
  rows.slots = std::move(ranking.slots);
  rows.scores = std::move(ranking.scores);
  int free = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    rows.positions.push_back(tier.position(rows.slots[i]));
    rows.pinned.push_back(ranking.pins[i] > 0);
    free += ranking.pins[i] == 0;
  }
  if (leave <= free) rows.leave = leave;
  if (rows.leave > 0)
    rows.representatives = std::min(
        static_cast<int>(representatives_->share() * quota(head, tokens).high), free - leave);
  if (!representatives_->asks_head_scores() || !tier.shape().scored) return rows;
  const int lanes = tier.shape().head_scores, first = lanes > 0 ? 1 : 0;
  std::vector<uint16_t> stored(static_cast<size_t>(tier.blocks()) * kBlockTokens);
  rows.head_scores.resize(static_cast<size_t>(lanes + 1 - first) * rows.size());
  uint16_t* to = rows.head_scores.data();
  for (int lane = first; lane <= lanes; ++lane) {
    for (int b = 0; b < tier.blocks(); ++b)
      std::memcpy(stored.data() + b * kBlockTokens, tier.score_lane(b, lane), kBlockTokens * 2);
    for (int slot : rows.slots) *to++ = ordered_f16(stored[static_cast<size_t>(slot)]);
  }
  return rows;
}

void Pipeline::demote_layer(Sequence* cache, int layer, int tokens, bool flush) {
  std::vector<HeadRows> heads;
  for (int h = 0; h < context_.kv_heads; ++h)
    heads.push_back(gather(*cache, {layer, h}, tokens, flush));
  const Stays stays = representatives_->choose(layer, tokens, heads);
  for (int h = 0; h < context_.kv_heads; ++h) {
    const HeadRows& rows = heads[static_cast<size_t>(h)];
    if (rows.leave == 0) {
      demote(cache, {layer, h}, layer_level_, tokens, flush);
      continue;
    }
    std::vector<int> slots;
    for (size_t i = 0; i < rows.size(); ++i)
      if (!stays[static_cast<size_t>(h)][i]) slots.push_back(rows.slots[i]);
    move_down(cache, {layer, h}, layer_level_, tokens, std::move(slots));
  }
}

}  // namespace kvkeep
