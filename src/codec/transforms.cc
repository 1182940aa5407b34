#include "codec/transforms.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <set>

#include "base/fail.h"

namespace kvkeep {
namespace {

constexpr int kMaxTransformContext = 1 << 22;  // tables grow with the context

}  // namespace

Transforms::Transforms(const TransformContext& context)
    : context_(context), heads_(static_cast<size_t>(context.layers * context.kv_heads)) {}

Result<Transforms> Transforms::make(const Plan& plan, const TransformContext& context) {
  Transforms made(context);
  for (const Plan::Slot& slot : plan.slots()) {
    if (slot.slot != "transform") continue;
    if (slot.method != "none" && context.context > kMaxTransformContext)
      return bad_input("plan: slot 'transform', {}: allowed are contexts up to {}, found {}",
                       slot.method, kMaxTransformContext, context.context);
    std::shared_ptr<Transform> transform = make_transform(slot, context);
    if (!transform) continue;
    if (!made.first_.empty() && made.first_.back()->order() >= transform->order())
      return bad_input(
          "plan: slot 'transform': {} must come earlier; allowed: centre+balance+hadamard",
          slot.method);
    const bool learns_queries = transform->query_summary() != QuerySummary::none;
    if (learns_queries) {
      made.summary_ = transform->query_summary();
      made.queries_.resize(made.heads_ * static_cast<size_t>(context.head_dim));
    }
    made.needs_fit_ |= transform->needs_fit();
    made.refits_ |= transform->refits() != Refits::never;
    made.observes_again_ |= transform->refits() != Refits::never && learns_queries;
    made.first_.push_back(std::move(transform));
  }
  if (made.needs_fit_) made.fitted_.resize(made.heads_);
  if (made.refits_) made.later_.resize(made.heads_);
  return made;
}

Result<void> Transforms::allow_epochs(bool stays) {
  const bool asked = std::any_of(first_.begin(), first_.end(), [](const auto& transform) {
    return transform->refits() == Refits::asked;
  });
  if (asked && !stays)
    return bad_input(
        "plan: slot 'transform': balance:refresh needs rows that stay where they were coded; "
        "allowed: low=rtn, grid, kivi");
  if (!stays) {
    later_ = {};
    refits_ = observes_again_ = false;
  }
  return {};
}

Transforms Transforms::fork() const {
  Transforms copy(*this);
  for (auto& transform : copy.first_) transform = transform->clone();
  return copy;
}

const Transforms::Chain& Transforms::newest(HeadIndex head) const {
  return chain(head, epochs(head) - 1);
}

const Transforms::Chain& Transforms::chain(HeadIndex head, int epoch) const {
  return epoch == 0 ? first_ : later(head)[static_cast<size_t>(epoch - 1)].chain;
}

int Transforms::epoch(HeadIndex head, int block) const {
  int epoch = epochs(head) - 1;
  while (epoch > 0 && later(head)[static_cast<size_t>(epoch - 1)].first_block > block) --epoch;
  return epoch;
}

int Transforms::epoch_end(HeadIndex head, int epoch) const {
  return epoch + 1 == epochs(head) ? INT_MAX : later(head)[static_cast<size_t>(epoch)].first_block;
}

bool Transforms::has_bias() const {
  return std::any_of(first_.begin(), first_.end(),
                     [](const auto& transform) { return transform->has_bias(); });
}

void Transforms::observe_queries(int layer, const float* q, int rows, int gqa_ratio) {
  const auto d = static_cast<size_t>(context_.head_dim);
  const size_t first = index({layer, 0});
  if (queries_.empty() || (fitted({layer, 0}) && !observes_again_)) return;
  for (int r = 0; r < rows; ++r)
    for (size_t h = 0; h < static_cast<size_t>(context_.kv_heads); ++h) {
      float* to = queries_.data() + (first + h) * d;
      for (int g = 0; g < gqa_ratio; ++g, q += d)
        for (size_t c = 0; c < d; ++c)
          to[c] = summary_ == QuerySummary::largest ? std::max(to[c], std::fabs(q[c]))
                                                    : to[c] + q[c] * q[c];
    }
}

FitInput Transforms::input(HeadIndex head, int tokens, std::span<const float> keys,
                           std::span<const int32_t> positions) const {
  const auto d = static_cast<size_t>(context_.head_dim);
  FitInput input{keys, positions, {}, tokens};
  if (!queries_.empty()) input.queries = std::span(queries_).subspan(index(head) * d, d);
  return input;
}

void Transforms::forward(const Transform& transform, HeadIndex head, std::span<float> keys,
                         std::span<const int32_t> positions) const {
  for (size_t i = 0; i < positions.size(); ++i)
    transform.forward_key(head, keys.data() + i * static_cast<size_t>(context_.head_dim),
                          positions[i]);
}

void Transforms::fit(HeadIndex head, int tokens, std::span<float> keys,
                     std::span<const int32_t> positions) {
  if (!needs_fit_) return;
  fitted_[index(head)] = tokens;
  size_t learners = first_.size();  // up to the last transform that learns
  while (!first_[learners - 1]->needs_fit()) --learners;
  for (size_t i = 0; i < learners; ++i) {
    first_[i]->fit(head, input(head, tokens, keys, positions));
    if (i + 1 < learners) forward(*first_[i], head, keys, positions);
  }
  if (observes_again_) forget_queries(head);
}

void Transforms::forget_queries(HeadIndex head) {
  std::fill_n(queries_.begin() + static_cast<ptrdiff_t>(index(head)) * context_.head_dim,
              context_.head_dim, 0.0f);
}

bool Transforms::may_refit(HeadIndex head, int tokens) const {
  if (!refits_ || !fitted(head) || tokens == fitted_[index(head)]) return false;
  const Chain& chain = newest(head);
  return std::any_of(chain.begin(), chain.end(),
                     [&](const auto& transform) { return transform->may_refit(head, tokens); });
}

void Transforms::refit(HeadIndex head, int tokens, std::span<float> keys,
                       std::span<const int32_t> positions, int block) {
  Chain chain;
  bool changed = false;
  for (const auto& old : newest(head)) {
    auto transform = old;
    if (old->may_refit(head, tokens))
      if (auto made = old->refit(head, input(head, tokens, keys, positions))) {
        transform = *std::move(made);
        changed = true;
        if (old->query_summary() != QuerySummary::none) forget_queries(head);
      }
    if (!transform) continue;
    forward(*transform, head, keys, positions);
    chain.push_back(std::move(transform));
  }
  if (changed) later_[index(head)].push_back({block, std::move(chain)});
}

size_t Transforms::state_bytes() const {
  size_t bytes = queries_.capacity() * sizeof(float) + later_.capacity() * sizeof(later_[0]) +
                 fitted_.capacity() * sizeof(int);
  std::set<const Transform*> counted;
  const auto add = [&](const Chain& chain) {
    for (const auto& transform : chain)
      if (counted.insert(transform.get()).second) bytes += transform->state_bytes();
  };
  add(first_);
  for (const auto& epochs : later_) {
    bytes += epochs.capacity() * sizeof(Epoch);
    for (const Epoch& epoch : epochs) {
      bytes += epoch.chain.capacity() * sizeof(Chain::value_type);
      add(epoch.chain);
    }
  }
  return bytes;
}

size_t Transforms::shared_bytes() const {
  size_t bytes = 0;
  for (const auto& transform : first_) bytes += transform->shared_bytes();
  return bytes;
}

}  // namespace kvkeep
