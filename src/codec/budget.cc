#include "codec/budget.h"

#include <algorithm>
#include <cmath>

namespace kvkeep {

Budget::Budget(const Plan& plan) : exact_high_(plan.slot("high").method == "f16") {
  const Plan::Slot& slot = plan.slot("budget");
  keep_ = slot.number("keep");
  recent_ = slot.number("recent");
  sinks_ = static_cast<int>(slot.number("sinks"));
  window_ = static_cast<int>(slot.number("window"));
  demote_ = static_cast<int>(slot.number("demote"));
}

Quota Budget::allocate(int tokens) const {
  Quota quota;
  const int pinned = std::min(tokens, sinks_ + window_);
  const auto kept = static_cast<int>(std::ceil(keep_ * tokens - 1e-9));
  quota.high = std::clamp(kept, pinned, tokens);
  quota.exact = exact_high_ ? quota.high : pinned;
  quota.sinks = std::min(sinks_, tokens);
  // Sinks are never crowded out by the newest.
  const int newest = std::min(static_cast<int>(recent_ * quota.high),
                              quota.high - std::min(quota.sinks, quota.high));
  const int window = std::min(window_, tokens - quota.sinks);
  quota.first_high = tokens - std::max(window, newest);
  quota.first_exact = exact_high_ ? quota.first_high : tokens - window;
  return quota;
}

}  // namespace kvkeep
