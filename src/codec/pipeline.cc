#include "codec/pipeline.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/fail.h"
#include "base/half.h"
#include "codec/demote.h"
#include "kernels/isa.h"

namespace kvkeep {
namespace {

constexpr int kMaxTransformContext = 1 << 22;  // tables grow with the context

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

Pipeline::Pipeline(const Plan& plan, const TransformContext& context)
    : context_(context),
      budget_(plan),
      scorer_(make_scorer(plan.slot("scorer"))),
      fitted_(static_cast<size_t>(context.layers * context.kv_heads)),
      evicts_(plan.slot("low").method == "drop"),
      integer_(plan.slot("attend").method == "integer") {}

Result<Pipeline> Pipeline::make(const Plan& plan, const TransformContext& context) {
  Pipeline made(plan, context);
  const auto scorer = find_method("scorer", plan.slot("scorer").method);
  if (!scorer) return tl::unexpected(scorer.error());
  made.observes_attention_ = (*scorer)->observes == Observes::attention;
  made.observes_keys_ = (*scorer)->observes == Observes::keys;
  for (const Plan::Slot& slot : plan.slots()) {
    if (slot.slot != "transform") continue;
    if (slot.method != "none" && context.context > kMaxTransformContext)
      return bad_input("plan: slot 'transform', {}: allowed are contexts up to {}, found {}",
                       slot.method, kMaxTransformContext, context.context);
    auto transform = make_transform(slot, context);
    if (!transform) continue;
    if (!made.transforms_.empty() && made.transforms_.back()->order() >= transform->order())
      return bad_input(
          "plan: slot 'transform': {} must come earlier; allowed: centre+balance+hadamard",
          slot.method);
    if (transform->observes_queries())
      made.query_max_.resize(
          static_cast<size_t>(context.layers * context.kv_heads * context.head_dim));
    made.transforms_.push_back(std::move(transform));
  }
  const PartShape exact = part_shape({LayoutId::f16, 0}, context.head_dim);
  made.levels_.push_back({exact, exact, false, false});
  for (const char* name : {"high", "low"}) {
    const Plan::Slot& slot = plan.slot(name);
    if (slot.method != "rtn") continue;
    const auto k = shape_of(slot, "k", context.head_dim);
    if (!k) return tl::unexpected(k.error());
    const auto v = shape_of(slot, "v", context.head_dim);
    if (!v) return tl::unexpected(v.error());
    made.levels_.push_back({*k, *v, true, false});
  }
  const size_t ranked = made.levels_.size() - (made.evicts_ ? 0 : 1);
  for (size_t i = 0; i < ranked; ++i) made.levels_[i].scored = made.observes_attention_;
  return made;
}

std::vector<TierShape> Pipeline::tier_shapes() const {
  std::vector<TierShape> shapes;
  for (const Level& level : levels_)
    shapes.push_back({level.k.bytes(), level.v.bytes(), level.scored});
  return shapes;
}

double Pipeline::paper_bits_per_value() const {
  const double low = evicts_ ? 0.0 : nominal_bits(levels_.back());
  const bool coded_high = levels_.size() == (evicts_ ? 2u : 3u);
  const double high = coded_high ? nominal_bits(levels_[1]) : 16.0;
  return budget_.keep() * high + (1.0 - budget_.keep()) * low;
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

void Pipeline::update_scores(Tier* tier, int block, int count, std::span<const float> mass,
                             int rows) const {
  scorer_->update({mass, rows, {tier->scores(block), static_cast<size_t>(count)}});
}

// L2 norms of a tier's keys in the original basis, in the order of `slots`.
std::vector<float> Pipeline::key_norms(const Sequence& cache, HeadIndex head, int level,
                                       const std::vector<int>& slots) const {
  const int d = context_.head_dim;
  std::vector<float> k(static_cast<size_t>(kBlockTokens * d)), v(k.size()), by_slot(slots.size());
  for (size_t first = 0; first < slots.size(); first += kBlockTokens) {
    const size_t n = std::min<size_t>(kBlockTokens, slots.size() - first);
    read_rows(cache, head, level, static_cast<int>(first), static_cast<int>(n), k.data(), v.data());
    for (size_t i = 0; i < n; ++i) {
      const float* key = k.data() + i * static_cast<size_t>(d);
      by_slot[first + i] = std::sqrt(kernels().dot(key, key, d));
    }
  }
  std::vector<float> norms(slots.size());
  for (size_t i = 0; i < slots.size(); ++i) norms[i] = by_slot[static_cast<size_t>(slots[i])];
  return norms;
}

// Scores of a tier's rows in the order of `slots`, which is by position.
std::vector<float> Pipeline::rank(const Sequence& cache, HeadIndex head, int level, int tokens,
                                  const std::vector<int>& slots) const {
  const Tier& tier = cache.tier(head.layer, head.kv_head, level);
  std::vector<float> scores(slots.size()), norms;
  std::vector<int32_t> positions(slots.size());
  for (size_t i = 0; i < slots.size(); ++i) positions[i] = tier.position(slots[i]);
  if (tier.shape().scored)
    for (size_t i = 0; i < slots.size(); ++i) scores[i] = tier.score(slots[i]);
  if (observes_keys_) norms = key_norms(cache, head, level, slots);
  scorer_->rank({head.layer, head.kv_head, tokens, positions, norms}, scores);
  for (float& score : scores)
    if (std::isnan(score)) score = -std::numeric_limits<float>::infinity();
  return scores;
}

// Slots of the `count` rows that go down: unpinned rows by lowest score, then the oldest of the
// newest, sinks last; returned in order of position.
std::vector<int> Pipeline::choose(const Sequence& cache, HeadIndex head, int level, int tokens,
                                  int count) const {
  const Quota quota = budget_.allocate(tokens);
  const Tier& tier = cache.tier(head.layer, head.kv_head, level);
  const std::vector<int> slots = slots_by_position(tier);
  const std::vector<float> scores = rank(cache, head, level, tokens, slots);
  const int first_pinned = level == 0 ? quota.first_exact : quota.first_high;
  std::vector<uint64_t> orders(slots.size());
  for (size_t i = 0; i < slots.size(); ++i) {
    const int position = tier.position(slots[i]);
    const int pin = position < quota.sinks ? 2 : position >= first_pinned ? 1 : 0;
    orders[i] = demotion_order(pin, scores[i], i);
  }
  std::vector<int> chosen;
  for (size_t i : lowest(orders, count)) chosen.push_back(slots[i]);
  return chosen;
}

// At most kDemoteBatch slots.
void Pipeline::copy_down(Sequence* cache, HeadIndex head, int level,
                         std::span<const int> slots) const {
  const Tier& from = cache->tier(head.layer, head.kv_head, level);
  const Level& source = levels_[static_cast<size_t>(level)];
  RowTag tags[kDemoteBatch];
  float k[kDemoteBatch * kMaxHeadDim], v[kDemoteBatch * kMaxHeadDim];
  gather_rows(source, from, slots, k, v);
  for (size_t i = 0; i < slots.size(); ++i) {
    tags[i] = {from.position(slots[i]), source.scored ? from.score(slots[i]) : 0.0f};
    const auto row = i * static_cast<size_t>(context_.head_dim);
    if (source.coded) continue;
    for (const auto& transform : transforms_) {
      transform->forward_key(head, k + row, tags[i].position);
      transform->forward_value(v + row);
    }
  }
  append_coded(levels_[static_cast<size_t>(level) + 1],
               &cache->tier(head.layer, head.kv_head, level + 1), {tags, slots.size()}, k, v);
}

void Pipeline::observe_queries(int layer, const float* q, int rows, int gqa_ratio) {
  const auto d = static_cast<size_t>(context_.head_dim);
  const auto first = static_cast<size_t>(layer * context_.kv_heads);
  if (query_max_.empty() || fitted_[first]) return;
  for (int r = 0; r < rows; ++r)
    for (size_t h = 0; h < static_cast<size_t>(context_.kv_heads); ++h) {
      float* top = query_max_.data() + (first + h) * d;
      for (int g = 0; g < gqa_ratio; ++g)
        for (size_t c = 0; c < d; ++c) top[c] = std::max(top[c], std::fabs(*q++));
    }
}

void Pipeline::fit(const Sequence& cache, HeadIndex head) {
  const auto index = static_cast<size_t>(head.layer * context_.kv_heads + head.kv_head);
  if (fitted_[index]) return;
  fitted_[index] = 1;
  if (std::none_of(transforms_.begin(), transforms_.end(),
                   [](const auto& transform) { return transform->needs_fit(); }))
    return;
  const Tier& tier = cache.tier(head.layer, head.kv_head, 0);
  const auto n = static_cast<size_t>(tier.size()), d = static_cast<size_t>(context_.head_dim);
  std::vector<float> keys(n * d), values(n * d);
  std::vector<int32_t> positions(n);
  read_rows(cache, head, 0, 0, tier.size(), keys.data(), values.data());
  for (size_t i = 0; i < n; ++i) positions[i] = tier.position(static_cast<int>(i));
  FitInput input{keys, positions, {}};
  if (!query_max_.empty()) input.query_max = {query_max_.data() + index * d, d};
  for (const auto& transform : transforms_) {
    transform->fit(head, input);
    for (size_t i = 0; i < n; ++i) transform->forward_key(head, keys.data() + i * d, positions[i]);
  }
}

size_t Pipeline::transform_bytes() const {
  size_t bytes = query_max_.capacity() * sizeof(float);
  for (const auto& transform : transforms_) bytes += transform->state_bytes();
  return bytes;
}

size_t Pipeline::shared_bytes() const {
  size_t bytes = 0;
  for (const auto& transform : transforms_) bytes += transform->shared_bytes();
  return bytes;
}

int Pipeline::due(const Sequence& cache, HeadIndex head, int level, int tokens, bool flush) const {
  const bool last = level + 1 == static_cast<int>(levels_.size());
  if (last && !evicts_) return 0;
  const Quota quota = budget_.allocate(tokens);
  const int size = cache.tier(head.layer, head.kv_head, level).size();
  int due = size - quota.exact;
  if (level > 0 || last) {
    const int above = level > 0 ? cache.tier(head.layer, head.kv_head, 0).size() : 0;
    due = std::min(size + above - quota.high, size);
  }
  return due <= 0 || (!flush && due < budget_.demote_rows()) ? 0 : due;
}

void Pipeline::demote(Sequence* cache, HeadIndex head, int level, int tokens, bool flush) {
  const int count = due(*cache, head, level, tokens, flush);
  if (count == 0) return;
  Tier& tier = cache->tier(head.layer, head.kv_head, level);
  const bool last = level + 1 == static_cast<int>(levels_.size());
  if (!last) fit(*cache, head);
  std::vector<int> slots = choose(*cache, head, level, tokens, count);
  for (size_t i = 0; !last && i < slots.size();) {  // the first batch fills the last tile
    const int next = cache->tier(head.layer, head.kv_head, level + 1).size();
    const auto room = static_cast<size_t>(kDemoteBatch - next % kDemoteBatch);
    const size_t n = std::min(room, slots.size() - i);
    copy_down(cache, head, level, std::span(slots).subspan(i, n));
    i += n;
  }
  remove_rows(levels_[static_cast<size_t>(level)], &tier, std::move(slots));
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
  if (!stored.coded) return;
  for (auto it = transforms_.rbegin(); it != transforms_.rend(); ++it) {
    for (int i = 0; i < count; ++i)
      (*it)->inverse_key(head, k + static_cast<ptrdiff_t>(i) * d, tier.position(first + i));
    (*it)->inverse_value(v, count, d);
  }
}

}  // namespace kvkeep
