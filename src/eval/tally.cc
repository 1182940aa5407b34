#include "eval/tally.h"

#include <algorithm>

#include "base/check.h"
#include "base/rng.h"

namespace kvkeep {
namespace {

struct Sum {
  double right = 0;
  int asked = 0;

  void add(const Tally& tally, size_t metric) {
    right += tally.right[metric];
    asked += tally.asked;
  }
  double mean() const { return asked > 0 ? right / asked : 0; }
};

// statistic(indices of the samples drawn) is a double.
template <class Statistic>
Interval bootstrap(size_t samples, uint64_t seed, const Statistic& statistic) {
  constexpr size_t kDraws = 2000;
  Rng rng(seed);
  std::vector<double> found;
  std::vector<size_t> drawn(samples);
  for (size_t i = 0; i < kDraws; ++i) {
    for (auto& index : drawn) index = static_cast<size_t>(rng.below(samples));
    found.push_back(statistic(drawn));
  }
  std::sort(found.begin(), found.end());
  return {found[kDraws / 40], found[kDraws - 1 - kDraws / 40]};
}

}  // namespace

double accuracy(std::span<const Tally> tallies, size_t metric) {
  Sum sum;
  for (const auto& tally : tallies) sum.add(tally, metric);
  return sum.mean();
}

Interval mean_interval(std::span<const double> values, uint64_t seed) {
  return bootstrap(values.size(), seed, [&](const std::vector<size_t>& drawn) {
    double sum = 0;
    for (const size_t i : drawn) sum += values[i];
    return sum / static_cast<double>(drawn.size());
  });
}

Interval accuracy_interval(std::span<const Tally> tallies, uint64_t seed, size_t metric) {
  return bootstrap(tallies.size(), seed, [&](const std::vector<size_t>& drawn) {
    Sum sum;
    for (const size_t i : drawn) sum.add(tallies[i], metric);
    return sum.mean();
  });
}

Interval difference_interval(std::span<const Tally> tallies, std::span<const Tally> reference,
                             uint64_t seed, size_t metric) {
  KVKEEP_CHECK(tallies.size() == reference.size(), "{} samples against {}", tallies.size(),
               reference.size());
  return bootstrap(tallies.size(), seed, [&](const std::vector<size_t>& drawn) {
    Sum sum, other;
    for (const size_t i : drawn) {
      sum.add(tallies[i], metric);
      other.add(reference[i], metric);
    }
    return sum.mean() - other.mean();
  });
}

}  // namespace kvkeep
