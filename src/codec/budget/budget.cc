#include "codec/budget/budget.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace kvkeep {

Budget::Budget(const Plan& plan, const BudgetContext& context)
    : context_(context), exact_high_(plan.slot("high").method == "f16") {
  const Plan::Slot& slot = plan.slot("budget");
  keep_ = slot.number("keep");
  mid_keep_ = slot.number("mid_keep");
  recent_ = slot.number("recent");
  mid_recent_ = slot.number("mid_recent");
  sinks_ = static_cast<int>(slot.number("sinks"));
  prefix_ = static_cast<int>(slot.number("prefix"));
  fixed_ = slot.param("quota") == "fixed";
  window_ = static_cast<int>(slot.number("window"));
  slice_ = static_cast<int>(slot.number("slice"));
  demote_ = static_cast<int>(slot.number("demote"));
}

// The tokens that shares are of.
int Budget::basis(int tokens, int prompt) const {
  return fixed_ && prompt > 0 ? std::min(tokens, prompt) : tokens;
}

namespace {

int share(double of, int tokens) { return static_cast<int>(std::ceil(of * tokens - 1e-9)); }

}  // namespace

Budget::Bounds Budget::high_bounds(int tokens, int prompt) const {
  const int of = basis(tokens, prompt), first = std::max(sinks_, prefix_);
  const int even = std::clamp(share(keep_, of), std::min(tokens, first + window_), tokens);
  return {even, std::min(even, first + newest(even)), std::max(of, even)};
}

Budget::Bounds Budget::mid_bounds(int tokens, int prompt) const {
  Bounds bounds = high_bounds(tokens, prompt);
  bounds.even = std::min(bounds.even + share(mid_keep_, basis(tokens, prompt)), tokens);
  bounds.most = std::max(bounds.most, bounds.even);
  return bounds;
}

// The first tokens are never crowded out by the newest.
int Budget::newest(int even) const {
  const int first = std::min(std::max(sinks_, prefix_), even);
  return std::max(window_, std::min(static_cast<int>(recent_ * even), even - first));
}

Quota Budget::allocate(HeadIndex head, int tokens, int prompt) const {
  Quota quota;
  const Bounds bounds = high_bounds(tokens, prompt);
  const int first = std::min(std::max(sinks_, prefix_), tokens);
  quota.high = std::clamp(spread(head, bounds), std::min(first + window_, tokens), tokens);
  quota.mid = std::clamp(spread(head, mid_bounds(tokens, prompt)), quota.high, tokens);
  quota.exact = exact_high_ ? quota.high : std::min(tokens, sinks_ + window_);
  quota.sinks = std::min(sinks_, tokens);
  quota.prefix = std::min(prefix_, tokens);
  const int window = std::min(window_, tokens - quota.sinks);
  const int pinned = std::max(window, std::min(newest(bounds.even), quota.high - first));
  quota.first_high = tokens - std::min(pinned, tokens - quota.sinks);
  quota.first_mid = quota.first_high - static_cast<int>(mid_recent_ * (quota.mid - quota.high));
  quota.first_exact = exact_high_ ? quota.first_high : tokens - window;
  return quota;
}

Result<std::unique_ptr<Budget>> make_budget(const Plan& plan, const BudgetContext& context) {
  const std::string& method = plan.slot("budget").method;
#define KVKEEP_BUDGET(name, ...) \
  if (method == #name) return make_budget_##name(plan, context);
#include "codec/budget/methods.inc"
#undef KVKEEP_BUDGET
  KVKEEP_CHECK(false, "budget {}", method);
}

}  // namespace kvkeep
