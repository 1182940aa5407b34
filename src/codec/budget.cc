#include "codec/budget.h"

#include <algorithm>
#include <cmath>

namespace kvkeep {

Budget::Budget(const Plan& plan) : exact_high_(plan.slot("high").method == "f16") {
  const Plan::Slot& slot = plan.slot("budget");
  keep_ = slot.number("keep");
  mid_keep_ = slot.number("mid_keep");
  recent_ = slot.number("recent");
  sinks_ = static_cast<int>(slot.number("sinks"));
  prefix_ = static_cast<int>(slot.number("prefix"));
  fixed_ = slot.param("quota") == "fixed";
  window_ = static_cast<int>(slot.number("window"));
  demote_ = static_cast<int>(slot.number("demote"));
}

Quota Budget::allocate(int tokens, int prompt) const {
  Quota quota;
  const int basis = fixed_ && prompt > 0 ? std::min(tokens, prompt) : tokens;
  const auto share = [&](double of) { return static_cast<int>(std::ceil(of * basis - 1e-9)); };
  const int first = std::max(sinks_, prefix_);
  quota.high = std::clamp(share(keep_), std::min(tokens, first + window_), tokens);
  quota.mid = std::min(quota.high + share(mid_keep_), tokens);
  quota.exact = exact_high_ ? quota.high : std::min(tokens, sinks_ + window_);
  quota.sinks = std::min(sinks_, tokens);
  quota.prefix = std::min(prefix_, tokens);
  // The first tokens are never crowded out by the newest.
  const int newest =
      std::min(static_cast<int>(recent_ * quota.high), quota.high - std::min(first, quota.high));
  const int window = std::min(window_, tokens - quota.sinks);
  quota.first_high = tokens - std::max(window, newest);
  quota.first_exact = exact_high_ ? quota.first_high : tokens - window;
  return quota;
}

}  // namespace kvkeep
