#include "codec/pipeline.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/fail.h"
#include "base/half.h"
#include "base/rng.h"
#include "codec/demote.h"
#include "kernels/isa.h"

namespace kvkeep {
namespace {

Result<PartShape> shape_of(const Plan::Slot& slot, const char* side, int head_dim) {
  const auto layout = parse_layout(slot.param(side));
  if (!layout) return tl::unexpected(layout.error());
  if (layout->group > head_dim)
    return bad_input(
        "plan: slot '{}': {}={} has groups of {}; allowed with head_dim {}: groups of "
        "32 to {}, or gt",
        slot.slot, side, layout_name(*layout), layout->group, head_dim, head_dim);
  return part_shape(*layout, head_dim);
}

// Bits of codes and side information per value, without padding.
double nominal_bits(const PartShape& shape) {
  if (layout_kind(shape.id) == LayoutKind::exact) return 16.0;
  if (by_channel(shape.id)) return layout_bits(shape.id) + 32.0 / kChannelTokens;
  const double side = layout_kind(shape.id) == LayoutKind::uniform ? 32.0 : 16.0;
  return layout_bits(shape.id) + side * shape.groups / shape.head_dim;
}

double nominal_bits(const Level& level) {
  return (nominal_bits(level.k) + nominal_bits(level.v)) / 2;
}

bool to_f16(const float* row, int n, uint16_t* out) {
  bool finite = true;
  for (int c = 0; c < n; ++c) {
    out[c] = f32_to_f16(row[c]);
    finite &= (out[c] & 0x7c00u) != 0x7c00u;
  }
  return finite;
}

}  // namespace

Pipeline::Pipeline(const Plan& plan, const TransformContext& context, Transforms transforms)
    : context_(context),
      scorer_(make_scorer(plan.slot("scorer"))),
      observes_((*find_method("scorer", plan.slot("scorer").method))->observes),
      representatives_(make_representatives(plan.slot("representatives"))),
      transforms_(std::move(transforms)),
      evicts_(plan.slot("low").method == "drop" || Merger::is(plan.slot("low"))),
      integer_(plan.slot("attend").method == "integer") {
  if (Merger::is(plan.slot("low")))
    merger_ = std::make_shared<Merger>(plan.slot("low"), context.layers, context.kv_heads);
  if (plan.slot("low").method == "chunk")
    chunk_rows_ = static_cast<int>(plan.slot("low").number("rows"));
}

Result<Pipeline> Pipeline::make(const Plan& plan, const TransformContext& context) {
  auto transforms = Transforms::make(plan, context);
  if (!transforms) return tl::unexpected(transforms.error());
  Pipeline made(plan, context, *std::move(transforms));
  auto budget = make_budget(plan, {context.layers, context.kv_heads});
  if (!budget) return tl::unexpected(budget.error());
  made.budget_ = *std::move(budget);
  KVKEEP_TRY(made.make_levels(plan));
  KVKEEP_TRY(made.transforms_.allow_epochs(!made.evicts_ && !made.chunks()));
  made.choose_tags(plan);
  return made;
}

Result<void> Pipeline::make_levels(const Plan& plan) {
  const PartShape exact = part_shape({LayoutId::f16, 0}, context_.head_dim);
  levels_.push_back({exact, exact});
  for (const auto& [name, rung] :
       {std::pair{"high", Rung::high}, {"mid", Rung::mid}, {"low", Rung::low}}) {
    const Plan::Slot& slot = plan.slot(name);
    if (slot.method != "rtn" && slot.method != "grid" && slot.method != "kivi") continue;
    const auto k = shape_of(slot, "k", context_.head_dim);
    if (!k) return tl::unexpected(k.error());
    const auto v = shape_of(slot, "v", context_.head_dim);
    if (!v) return tl::unexpected(v.error());
    levels_.push_back({*k, *v, true, false, rung});
    levels_.back().unbiased = slot.number("unbiased") == 1;
  }
  return {};
}

// What levels store about a row: as little as the plan will ask.
void Pipeline::choose_tags(const Plan& plan) {
  const Plan::Slot& scorer = plan.slot("scorer");
  const bool keeps_all =
      budget_->keep() == 1 && !budget_->fixed() && plan.slot("high").method == "f16";
  const bool ranks = !keeps_all && budget_->keep() + budget_->mid_keep() > 0;
  if (!ranks) observes_ = Observes::nothing;
  if (observes(observes_, Observes::queries))
    queries_.emplace(context_.layers, context_.kv_heads, context_.head_dim, context_.rope);
  if (const std::string gqa = scorer.param("gqa"); gqa == "max") {
    gqa_ = GqaAggregate::max;
  } else if (gqa == "mean") {
    gqa_ = GqaAggregate::mean;
  }
  const bool stands = representatives_ && ranks;
  for (size_t i = 0; stands && i < levels_.size(); ++i)
    if (levels_[i].rung <= Rung::high) layer_level_ = static_cast<int>(i);
  const bool q_heads = stands && representatives_->asks_q_heads() && context_.gqa_ratio > 1;
  const bool asked = transforms_.has_bias();
  for (size_t i = 0; i < levels_.size(); ++i) {
    Level& level = levels_[i];
    const bool last = i + 1 == levels_.size(), leaves = !last || evicts_ || chunks();
    level.scored = leaves && observes_attention();
    if (q_heads && level.scored && static_cast<int>(i) <= layer_level_)
      level.head_scores = context_.gqa_ratio;
    level.masses = merger_ && i == 0;
    level.positions = context_.context <= 65536 ? Positions::bits16 : Positions::bits32;
    if (i == 0 && keeps_all) {
      level.positions = Positions::in_order;
    } else if (!leaves && scorer.method == "recency") {  // the oldest go first, the pinned never
      level.positions = Positions::in_order;
      level.first_position = std::max(budget_->sinks(), budget_->prefix());
    } else if (!leaves && !asked) {
      level.positions = Positions::none;
    }
  }
}

Pipeline Pipeline::fork() const {
  Pipeline copy(*this);
  copy.budget_ = budget_->clone();
  copy.transforms_ = transforms_.fork();
  if (merger_) copy.merger_ = std::make_shared<Merger>(*merger_);
  return copy;
}

std::vector<TierShape> Pipeline::tier_shapes() const {
  std::vector<TierShape> shapes;
  for (const Level& level : levels_) shapes.push_back(level.tier_shape());
  return shapes;
}

double Pipeline::paper_bits_per_value(double chunk_bits) const {
  double high = 16.0, mid = 0.0, low = chunk_bits;
  for (const Level& level : levels_) {
    if (level.rung == Rung::high) high = nominal_bits(level);
    if (level.rung == Rung::mid) mid = nominal_bits(level);
    if (level.rung == Rung::low) low = nominal_bits(level);
  }
  const double keep = budget_->keep(), middle = budget_->mid_keep();
  return keep * high + middle * mid + (1.0 - keep - middle) * low;
}

Result<void> Pipeline::append(Sequence* cache, HeadIndex head, int position, const float* k,
                              const float* v) const {
  uint16_t key[kMaxHeadDim], value[kMaxHeadDim];
  const int d = context_.head_dim;
  const bool key_ok = to_f16(k, d, key), value_ok = to_f16(v, d, value);
  if (!key_ok || !value_ok)
    return failed("layer {}, kv_head {}, position {}: the {} is not finite in f16", head.layer,
                  head.kv_head, position, key_ok ? "value" : "key");
  Tier& tier = cache->tier(head.layer, head.kv_head, 0);
  const int slot = tier.append(position, 0.0f);
  put_row_f16(levels_[0].k, Side::key, tier.k_part(slot / 64), slot % 64, key);
  put_row_f16(levels_[0].v, Side::value, tier.v_part(slot / 64), slot % 64, value);
  return {};
}

// Noise that knows nothing of what is rounded keeps the mean even of increments that are the same
// in every read, and is the same for every number of threads.
SeenRows SeenRows::of(HeadIndex head, int rows, int last) {
  const auto place = static_cast<uint64_t>(head.layer) << 16 | static_cast<uint64_t>(head.kv_head);
  return {rows, hash64(static_cast<uint64_t>(last) << 32 | place)};
}

void Pipeline::update_scores(Tier* tier, int block, int count, const MassRows& given,
                             const SeenRows& seen, int lane) const {
  constexpr int kAhead = 8;  // blocks: their scores come from memory, a line or two each
  const int ahead = std::min(block + kAhead, tier->blocks() - 1);
  const uint64_t place = static_cast<uint64_t>(block) << 16 | static_cast<uint64_t>(lane);
  kernels().add_masses(given, count, scorer_->fade(seen.rows),
                       static_cast<uint32_t>(hash64(seen.noise + place) >> 32),
                       tier->scores(block, lane), tier->score_lane(ahead, lane));
}

// At most kDemoteBatch slots.
void Pipeline::copy_down(Sequence* cache, HeadIndex head, int level,
                         std::span<const int> slots) const {
  const Tier& from = cache->tier(head.layer, head.kv_head, level);
  const Level& source = levels_[static_cast<size_t>(level)];
  RowTag tags[kDemoteBatch];
  float k[kDemoteBatch * kMaxHeadDim], v[kDemoteBatch * kMaxHeadDim];
  const bool to_last = last_level(level + 1);
  const auto& chain = to_last ? transforms_.newest(head) : transforms_.first();
  const bool same_basis = source.coded && (!to_last || transforms_.epochs(head) == 1);
  if (same_basis)
    gather_rows(source, from, slots, k, v);
  else
    read_slots(from, head, level, slots, k, v);
  for (size_t i = 0; i < slots.size(); ++i) {
    tags[i] = {from.position(slots[i]), source.scored ? from.score(slots[i]) : 0.0f};
    const auto row = i * static_cast<size_t>(context_.head_dim);
    if (same_basis) continue;
    for (const auto& transform : chain) {
      transform->forward_key(head, k + row, tags[i].position);
      transform->forward_value(v + row);
    }
  }
  Tier& to = cache->tier(head.layer, head.kv_head, level + 1);
  const int first = to.size();
  append_coded(levels_[static_cast<size_t>(level) + 1], &to, {tags, slots.size()}, k, v);
  for (size_t i = 0; i < slots.size(); ++i)
    for (int lane = 1; lane <= to.shape().head_scores; ++lane)
      to.set_score(first + static_cast<int>(i), from.score(slots[i], lane), lane);
}

void Pipeline::observe_queries(int layer, const float* q, int rows, int gqa_ratio,
                               int first_position) {
  if (queries_) queries_->observe(layer, q, rows, gqa_ratio, first_position);
  transforms_.observe_queries(layer, q, rows, gqa_ratio);
}

// Copies of the newest keys above the last level, in the original basis, and their positions,
// ascending. Before the first rows go down those are all.
Pipeline::Sample Pipeline::sample(const Sequence& cache, HeadIndex head, size_t most) const {
  struct Place {
    int32_t position;
    int level, slot;
  };
  std::vector<Place> places;
  for (int level = 0; !last_level(level); ++level) {
    const PlacedSlots here = slots_by_position(cache.tier(head.layer, head.kv_head, level));
    const auto above = static_cast<ptrdiff_t>(places.size());
    for (size_t i = here.slots.size() - std::min(most, here.slots.size()); i < here.slots.size();
         ++i)
      places.push_back({here.positions[i], level, here.slots[i]});
    std::inplace_merge(places.begin(), places.begin() + above, places.end(),
                       [](const Place& a, const Place& b) { return a.position < b.position; });
  }
  if (places.size() > most)
    places.erase(places.begin(), places.end() - static_cast<ptrdiff_t>(most));
  const auto d = static_cast<size_t>(context_.head_dim);
  Sample sample{std::vector<float>(places.size() * d), {}};
  std::vector<float> values(places.size() * d);
  std::vector<int> slots;
  for (size_t i = 0, end = 0; i < places.size(); i = end, slots.clear()) {
    const int level = places[i].level;
    for (; end < places.size() && places[end].level == level; ++end) {
      slots.push_back(places[end].slot);
      sample.positions.push_back(places[end].position);
    }
    read_slots(cache.tier(head.layer, head.kv_head, level), head, level, slots,
               sample.keys.data() + i * d, values.data() + i * d);
  }
  return sample;
}

void Pipeline::fit(const Sequence& cache, HeadIndex head, int tokens) {
  if (!transforms_.needs_fit() || transforms_.fitted(head)) return;
  Sample all = sample(cache, head, std::numeric_limits<size_t>::max());
  transforms_.fit(head, tokens, all.keys, all.positions);
}

size_t Pipeline::statistics_bytes() const {
  return budget_->state_bytes() + (queries_ ? queries_->bytes() : 0) +
         (merger_ ? merger_->state_bytes() : 0);
}

void Pipeline::refit(const Sequence& cache, HeadIndex head, int tokens, int block) {
  Sample newest = sample(cache, head, kRefitRows);
  transforms_.refit(head, tokens, newest.keys, newest.positions, block);
}

// Tokens that levels 0 .. level may hold together.
int Pipeline::most(const Quota& quota, int level) const {
  switch (levels_[static_cast<size_t>(level)].rung) {
    case Rung::exact:
      return quota.exact;
    case Rung::high:
      return quota.high;
    case Rung::mid:
      return quota.mid;
    case Rung::low:
      break;
  }
  return std::numeric_limits<int>::max();
}

bool Pipeline::waits_for_fit(HeadIndex head, int tokens) const {
  return transforms_.needs_fit() && tokens < kFitRows && !transforms_.fitted(head) &&
         levels_.size() > 1;
}

int Pipeline::due(const Sequence& cache, HeadIndex head, int level, int tokens, bool flush) const {
  const bool last = last_level(level);
  if (last && !evicts_ && !chunks()) return 0;
  if (waits_for_fit(head, tokens)) return 0;
  const int size = cache.tier(head.layer, head.kv_head, level).size();
  int above = 0;  // rows that wait to come down here do not push others out yet
  const Quota quota = this->quota(head, tokens);
  for (int i = 0; i < level; ++i) above += cache.tier(head.layer, head.kv_head, i).size();
  if (level > 0) above = std::min(above, most(quota, level - 1));
  const int batch = last && chunks() ? chunk_rows_ : budget_->demote_rows();
  int due = std::min(size + above - most(quota, level), size);
  if (!last) due -= due % levels_[static_cast<size_t>(level) + 1].step();
  return due <= 0 || (!flush && due < batch) ? 0 : due;
}

void Pipeline::demote(Sequence* cache, HeadIndex head, int level, int tokens, bool flush) {
  const int count = due(*cache, head, level, tokens, flush);
  if (count > 0) move_down(cache, head, level, tokens, choose(*cache, head, level, tokens, count));
}

void Pipeline::move_down(Sequence* cache, HeadIndex head, int level, int tokens,
                         std::vector<int> slots) {
  Tier& tier = cache->tier(head.layer, head.kv_head, level);
  const bool last = last_level(level);
  if (!last) fit(*cache, head, tokens);
  if (last && merger_) merge_away(cache, head, slots, tokens);
  bool refits = last_level(level + 1) && transforms_.may_refit(head, tokens);
  for (size_t i = 0; !last && i < slots.size();) {  // the first batch fills the last tile
    const int next = cache->tier(head.layer, head.kv_head, level + 1).size();
    if (refits && next % kBlockTokens == 0) {
      refit(*cache, head, tokens, next / kBlockTokens);
      refits = false;
    }
    const auto room = static_cast<size_t>(kDemoteBatch - next % kDemoteBatch);
    const size_t n = std::min(room, slots.size() - i);
    copy_down(cache, head, level, std::span(slots).subspan(i, n));
    i += n;
  }
  remove_rows(levels_[static_cast<size_t>(level)], &tier, std::move(slots));
}

// Rows of later epochs must not leave their block.
bool Pipeline::bound(HeadIndex head, int level) const {
  return last_level(level) && transforms_.epochs(head) > 1;
}

int Pipeline::epoch(HeadIndex head, int level, int block) const {
  return last_level(level) ? transforms_.epoch(head, block) : 0;
}

int Pipeline::epoch_end(HeadIndex head, int level, int block) const {
  return last_level(level) ? transforms_.epoch_end(head, transforms_.epoch(head, block)) : INT_MAX;
}

bool Pipeline::can_take_back(const Sequence& cache, HeadIndex head, int from, int tokens) const {
  if (evicts_) return true;
  int found = 0;
  for (int level = 0; level < cache.levels(); ++level) {
    const Tier& tier = cache.tier(head.layer, head.kv_head, level);
    if (!tier.knows_positions() || bound(head, level)) continue;
    int here = 0;
    for (int slot = 0; slot < tier.size(); ++slot) here += tier.position(slot) >= from;
    if (here % levels_[static_cast<size_t>(level)].step() != 0) return false;  // would cut a group
    found += here;
  }
  return found == tokens - from;
}

void Pipeline::take_back(Sequence* cache, HeadIndex head, int from) const {
  for (int level = 0; level < cache->levels(); ++level) {
    Tier& tier = cache->tier(head.layer, head.kv_head, level);
    std::vector<int> slots;
    if (!tier.knows_positions() || bound(head, level)) continue;
    for (int slot = 0; slot < tier.size(); ++slot)
      if (tier.position(slot) >= from) slots.push_back(slot);
    remove_rows(levels_[static_cast<size_t>(level)], &tier, std::move(slots));
  }
}

void Pipeline::read_rows(const Sequence& cache, HeadIndex head, int level, int first, int count,
                         float* k, float* v) const {
  const Tier& tier = cache.tier(head.layer, head.kv_head, level);
  const Level& stored = levels_[static_cast<size_t>(level)];
  const auto& table = kernels();
  const int d = context_.head_dim;
  for (int slot = first; slot < first + count;) {
    const int block = slot / kBlockTokens, lane = slot % kBlockTokens;
    const int n = std::min(kBlockTokens - lane, first + count - slot);
    const auto offset = static_cast<ptrdiff_t>(slot - first) * d;
    table.read_keys[static_cast<size_t>(stored.k.id)](stored.k, tier.k_part(block), lane, n,
                                                      k + offset, d);
    table.read_values[static_cast<size_t>(stored.v.id)](stored.v, tier.v_part(block), lane, n,
                                                        v + offset, d);
    slot += n;
  }
  if (stored.coded) undo_transforms(tier, head, level, first, count, k, v);
}

// Block by block: each has its own chain.
void Pipeline::undo_transforms(const Tier& tier, HeadIndex head, int level, int first, int count,
                               float* k, float* v) const {
  const int d = context_.head_dim;
  for (int slot = first; slot < first + count;) {
    const int n = std::min(kBlockTokens - slot % kBlockTokens, first + count - slot);
    const auto offset = static_cast<ptrdiff_t>(slot - first) * d;
    const Transforms::Chain& chain =
        transforms_.chain(head, epoch(head, level, slot / kBlockTokens));
    const auto position = [&](int i) {
      return tier.knows_positions() ? tier.position(slot + i) : 0;
    };
    invert(chain, head, n, d, position, k + offset, v + offset);
    slot += n;
  }
}

}  // namespace kvkeep
