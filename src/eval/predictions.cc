#include "eval/predictions.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "eval/nll.h"

namespace kvkeep {

void Predictions::add(std::span<const float> logits) {
  constexpr double kKept = 0.9999;
  constexpr size_t kMost = 4096;
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto above = [&](int32_t a, int32_t b) {
    const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  };
  const size_t most = std::min(kMost, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(most), order.end(),
                    above);
  const double total = log_total(logits);
  double sum = 0;
  for (size_t i = 0; i < most && sum < kKept; ++i) {
    const auto log_p = static_cast<float>(logits[static_cast<size_t>(order[i])] - total);
    entries_.push_back({order[i], log_p});
    sum += std::exp(static_cast<double>(log_p));
  }
  ends_.push_back(entries_.size());
  rests_.push_back(std::max(0.0, 1 - sum));
}

void Predictions::add(const Row& row) {
  entries_.insert(entries_.end(), row.likely.begin(), row.likely.end());
  ends_.push_back(entries_.size());
  rests_.push_back(row.rest);
}

Predictions::Row Predictions::row(size_t i) const {
  const size_t begin = i > 0 ? ends_[i - 1] : 0;
  return {std::span(entries_).subspan(begin, ends_[i] - begin), rests_[i]};
}

double Predictions::divergence(size_t i, std::span<const float> logits) const {
  const Row exact = row(i);
  const double total = log_total(logits);
  double sum = 0, other = 0;
  for (const auto& [token, log_p] : exact.likely) {
    const auto log_q = static_cast<float>(logits[static_cast<size_t>(token)] - total);
    sum += std::exp(static_cast<double>(log_p)) * (static_cast<double>(log_p) - log_q);
    other += std::exp(static_cast<double>(log_q));
  }
  const double rest = std::max(1 - other, 1e-12);
  if (exact.rest > 1e-12) sum += exact.rest * std::log(exact.rest / rest);
  return std::max(sum, 0.0);
}

}  // namespace kvkeep
