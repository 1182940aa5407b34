// Which rows leave a level, and how budgets that follow the scores learn of them.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "codec/demote.h"
#include "codec/pipeline.h"

namespace kvkeep {

// Rows of a tier at `slots` in the original basis: k, v [slots][head_dim]; v may be null.
void Pipeline::read_slots(const Tier& tier, HeadIndex head, int level, std::span<const int> slots,
                          float* k, float* v) const {
  const Level& stored = levels_[static_cast<size_t>(level)];
  const int d = context_.head_dim, count = static_cast<int>(slots.size());
  gather_rows(stored, tier, slots, k, v);
  if (!stored.coded) return;
  const auto position = [&](int i) { return tier.position(slots[static_cast<size_t>(i)]); };
  invert(transforms_.first(), head, count, d, position, k, v);  // rows of later ones do not move
}

Pipeline::Ranking Pipeline::rank(const Sequence& cache, HeadIndex head, int level, int tokens,
                                 int keep) const {
  const Tier& tier = cache.tier(head.layer, head.kv_head, level);
  const Quota quota = this->quota(head, tokens);
  const bool exact = level == 0 && quota.exact < quota.high;  // above a coded high tier
  const bool mid = levels_[static_cast<size_t>(level)].rung == Rung::mid;
  const int first_pinned = exact ? quota.first_exact : mid ? quota.first_mid : quota.first_high;
  const int last_pinned = exact ? quota.sinks : std::max(quota.sinks, quota.prefix);
  Ranking ranking;
  auto [slots, positions] = slots_by_position(tier);
  ranking.slots = std::move(slots);
  ranking.scores.resize(ranking.slots.size());
  std::vector<uint8_t> pinned;
  pinned.reserve(ranking.slots.size());
  ranking.pins.reserve(ranking.slots.size());
  for (const int32_t position : positions) {
    ranking.pins.push_back(position < last_pinned ? 2 : position >= first_pinned ? 1 : 0);
    pinned.push_back(ranking.pins.back() > 0);
  }
  if (tier.shape().scored)
    for (size_t i = 0; i < positions.size(); ++i) ranking.scores[i] = tier.score(ranking.slots[i]);
  RankInput input{head.layer, head.kv_head, tokens, positions, pinned, keep, context_.head_dim};
  input.queries = queries_ ? &*queries_ : nullptr;
  input.read = [&](size_t first, size_t count, float* k, float* v) {
    read_slots(tier, head, level, std::span(ranking.slots).subspan(first, count), k, v);
  };
  scorer_->rank(input, ranking.scores);
  for (float& score : ranking.scores)
    if (std::isnan(score)) score = -std::numeric_limits<float>::infinity();
  return ranking;
}

// Slots of the `count` rows that go down: unpinned rows by lowest score, then the oldest of the
// newest, sinks last; returned in order of position.
std::vector<int> Pipeline::choose(const Sequence& cache, HeadIndex head, int level, int tokens,
                                  int count) const {
  const Tier& tier = cache.tier(head.layer, head.kv_head, level);
  const int size = tier.size();
  if (count == size) return slots_by_position(tier).slots;
  const Ranking ranking = rank(cache, head, level, tokens, size - count);
  std::vector<uint64_t> orders(ranking.slots.size());
  for (size_t i = 0; i < orders.size(); ++i)
    orders[i] = demotion_order(ranking.pins[i], ranking.scores[i], i);
  std::vector<int> chosen;
  chosen.reserve(static_cast<size_t>(count));
  for (size_t i : lowest(orders, count)) chosen.push_back(ranking.slots[i]);
  return chosen;
}

std::vector<int> Pipeline::choose_for_chunks(const Sequence& cache, int tokens, bool flush,
                                             ThreadPool* pool) const {
  const int level = static_cast<int>(levels_.size()) - 1;
  const int count = due(cache, {}, level, tokens, flush);
  if (count == 0) return {};
  const int size = cache.tier(0, 0, level).size();
  std::vector<Ranking> heads(static_cast<size_t>(context_.layers * context_.kv_heads));
  pool->run(static_cast<int64_t>(heads.size()), [&](int64_t i, int) {
    const int head = static_cast<int>(i);
    heads[static_cast<size_t>(i)] = rank(
        cache, {head / context_.kv_heads, head % context_.kv_heads}, level, tokens, size - count);
  });
  Ranking& all = heads[0];
  for (size_t h = 1; h < heads.size(); ++h) {
    const std::vector<float>& own = heads[h].scores;
    KVKEEP_CHECK(own.size() == all.scores.size(), "{} rows, not {}", own.size(), size);
    for (size_t i = 0; i < own.size(); ++i) all.scores[i] += own[i];
  }
  std::vector<uint64_t> orders(all.slots.size());
  for (size_t i = 0; i < orders.size(); ++i)
    orders[i] = demotion_order(all.pins[i], std::isnan(all.scores[i]) ? 0 : all.scores[i], i);
  std::vector<int> chosen;
  for (size_t i : lowest(orders, count)) chosen.push_back(all.slots[i]);
  return chosen;
}

void Pipeline::read_for_chunks(const Sequence& cache, HeadIndex head, std::span<const int> slots,
                               float* k, float* v) const {
  const int level = static_cast<int>(levels_.size()) - 1;
  read_slots(cache.tier(head.layer, head.kv_head, level), head, level, slots, k, v);
}

void Pipeline::remove_slots(Sequence* cache, HeadIndex head, const std::vector<int>& slots) const {
  const int level = static_cast<int>(levels_.size()) - 1;
  remove_rows(levels_.back(), &cache->tier(head.layer, head.kv_head, level), slots);
}

bool Pipeline::reallocates(int tokens, bool flush) const {
  if (!budget_->follows_scores() || tokens == 0) return false;
  if (budget_->fixed()) return flush && allocated_ == 0;
  return flush || tokens - allocated_ > allocated_ / 4;
}

void Pipeline::reallocate(const Sequence& cache, int tokens) {
  const int ranked = static_cast<int>(levels_.size()) - (evicts_ ? 0 : 1);
  for (int layer = 0; layer < context_.layers; ++layer) {
    std::vector<HeadScores> heads(static_cast<size_t>(context_.kv_heads));
    for (int h = 0; h < context_.kv_heads; ++h) {
      const Quota quota = this->quota({layer, h}, tokens);
      HeadScores& scores = heads[static_cast<size_t>(h)];
      for (int level = 0; level < ranked; ++level) {
        const Ranking rows = rank(cache, {layer, h}, level, tokens, quota.high);
        for (size_t i = 0; i < rows.slots.size(); ++i) {
          const int position = cache.tier(layer, h, level).position(rows.slots[i]);
          if (position < std::max(quota.sinks, quota.prefix) || position >= quota.first_high) {
            ++scores.pinned;
          } else {
            scores.scores.push_back(rows.scores[i]);
          }
        }
      }
    }
    budget_->follow(layer, heads, tokens, prompt_);
  }
  allocated_ = tokens;
}

}  // namespace kvkeep
