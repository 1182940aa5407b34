#include "codec/pipeline.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "base/fail.h"
#include "base/half.h"
#include "codec/rtn.h"
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

void move_slot(const PartShape& shape, Side side, std::byte* to, int to_slot, const std::byte* from,
               int from_slot) {
  if (layout_kind(shape.id) == LayoutKind::exact) {
    uint16_t row[kMaxHeadDim];
    get_row_f16(shape, side, from, from_slot, row);
    put_row_f16(shape, side, to, to_slot, row);
  } else {
    RowCodes row;
    get_row(shape, side, from, from_slot, &row);
    put_row(shape, side, to, to_slot, row);
  }
}

// A row as its tier holds it, dequantized but still in the tier's basis.
void read_stored(const Level& level, const Tier& tier, int slot, float* k, float* v) {
  const auto& table = kernels();
  const int block = slot / kBlockTokens, lane = slot % kBlockTokens;
  table.read_keys[static_cast<size_t>(level.k.id)](level.k, tier.k_part(block), lane, 1, k,
                                                   level.k.head_dim);
  table.read_values[static_cast<size_t>(level.v.id)](level.v, tier.v_part(block), lane, 1, v,
                                                     level.v.head_dim);
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
      evicts_(plan.slot("low").method == "drop") {}

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

// Scores of a tier's rows in the order of `slots`, which is by position.
std::vector<float> Pipeline::rank(const Sequence& cache, HeadIndex head, int level, int tokens,
                                  const std::vector<int>& slots) const {
  const Tier& tier = cache.tier(head.layer, head.kv_head, level);
  std::vector<float> scores(slots.size()), norms;
  std::vector<int32_t> positions;
  for (size_t i = 0; i < slots.size(); ++i) {
    positions.push_back(tier.position(slots[i]));
    if (tier.shape().scored) scores[i] = tier.score(slots[i]);
    if (!observes_keys_) continue;
    float k[kMaxHeadDim], v[kMaxHeadDim];
    read_rows(cache, head, level, slots[i], 1, k, v);
    norms.push_back(std::sqrt(kernels().dot(k, k, context_.head_dim)));
  }
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
  std::vector<int> slots(static_cast<size_t>(tier.size()));
  std::iota(slots.begin(), slots.end(), 0);
  std::sort(slots.begin(), slots.end(),
            [&](int a, int b) { return tier.position(a) < tier.position(b); });
  const std::vector<float> scores = rank(cache, head, level, tokens, slots);
  const int first_pinned = level == 0 ? quota.first_exact : quota.first_high;
  const auto pin = [&](size_t i) {
    const int position = tier.position(slots[i]);
    return position < quota.sinks ? 2 : position >= first_pinned ? 1 : 0;
  };
  std::vector<size_t> order(slots.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::nth_element(order.begin(), order.begin() + (count - 1), order.end(),
                   [&](size_t i, size_t j) {
                     if (pin(i) != pin(j)) return pin(i) < pin(j);
                     if (pin(i) == 0 && scores[i] != scores[j]) return scores[i] < scores[j];
                     return i < j;
                   });
  order.resize(static_cast<size_t>(count));
  std::sort(order.begin(), order.end());
  std::vector<int> chosen;
  for (size_t i : order) chosen.push_back(slots[i]);
  return chosen;
}

void Pipeline::copy_down(Sequence* cache, HeadIndex head, int level, int slot) const {
  const Tier& from = cache->tier(head.layer, head.kv_head, level);
  Tier& to = cache->tier(head.layer, head.kv_head, level + 1);
  const Level& source = levels_[static_cast<size_t>(level)];
  const Level& target = levels_[static_cast<size_t>(level) + 1];
  float k[kMaxHeadDim], v[kMaxHeadDim];
  read_stored(source, from, slot, k, v);
  const int position = from.position(slot);
  if (!source.coded) {
    for (const auto& transform : transforms_) {
      transform->forward_key(head, k, position);
      transform->forward_value(v);
    }
  }
  const int place = to.append(position, source.scored ? from.score(slot) : 0.0f);
  RowCodes codes;
  rtn_quantize(target.k, k, &codes);
  put_row(target.k, Side::key, to.k_part(place / 64), place % 64, codes);
  rtn_quantize(target.v, v, &codes);
  put_row(target.v, Side::value, to.v_part(place / 64), place % 64, codes);
}

// Fills the slot with the tier's last row, bit for bit, and drops the last slot.
void Pipeline::remove(Tier* tier, const Level& level, int slot) const {
  const int last = tier->size() - 1;
  if (slot != last) {
    move_slot(level.k, Side::key, tier->k_part(slot / 64), slot % 64, tier->k_part(last / 64),
              last % 64);
    move_slot(level.v, Side::value, tier->v_part(slot / 64), slot % 64, tier->v_part(last / 64),
              last % 64);
    tier->positions(slot / 64)[slot % 64] = tier->position(last);
    if (level.scored) tier->scores(slot / 64)[slot % 64] = tier->score(last);
  }
  tier->pop();
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
  std::vector<float> keys(n * d), value(d);
  std::vector<int32_t> positions(n);
  for (size_t i = 0; i < n; ++i) {
    read_stored(levels_[0], tier, static_cast<int>(i), keys.data() + i * d, value.data());
    positions[i] = tier.position(static_cast<int>(i));
  }
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
  if (!last)
    for (int slot : slots) copy_down(cache, head, level, slot);
  std::sort(slots.begin(), slots.end(), std::greater<>());
  for (int slot : slots) remove(&tier, levels_[static_cast<size_t>(level)], slot);
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
