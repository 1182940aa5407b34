// Computes src/codec/grids.inc: the grids of n points in p dimensions with the least mean squared
// error on standard normal tuples, found from a fixed seed.
//
//   p = 1   Lloyd and Max: cells and centroids in closed form, to convergence
//   p > 1   competitive learning (Pages and Printems 2003): every round draws fresh tuples, and
//           each point moves to the mean of its cell; in the second half of the rounds by a
//           shrinking share of the way, so that the noise of the draws averages out. Many short
//           starts; the best of them, by tuples it has not seen, learns on
//
// usage: gaussian_grids > src/codec/grids.inc && ./dev format      (a few minutes)
#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

#include "base/rng.h"

namespace kvkeep {
namespace {

constexpr int kBatch = 64;  // tuples that are compared with a point at once
constexpr uint64_t kSeed = 2411'17525, kTestSeed = 7;

double density(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi); }
double below(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

struct Points {
  int p, n;
  std::vector<float> at;  // [n][p]
};

// For a batch x [p][kBatch]: the nearest point of each tuple.
void nearest(const Points& points, const float* x, int* index) {
  float best[kBatch];
  std::fill_n(best, kBatch, -1e30f);
  for (int j = 0; j < points.n; ++j) {
    const float* c = points.at.data() + j * points.p;
    float half = 0;
    for (int k = 0; k < points.p; ++k) half += c[k] * c[k] / 2;
    float score[kBatch];
    for (float& s : score) s = -half;
    for (int k = 0; k < points.p; ++k)
      for (int t = 0; t < kBatch; ++t) score[t] += c[k] * x[k * kBatch + t];
    for (int t = 0; t < kBatch; ++t) {
      index[t] = score[t] > best[t] ? j : index[t];
      best[t] = score[t] > best[t] ? score[t] : best[t];
    }
  }
}

struct Cells {
  std::vector<double> sums;  // [n][p]
  std::vector<int64_t> counts;
  double error = 0;  // per coordinate
};

Cells assign(const Points& points, Rng& rng, int batches) {
  const int p = points.p;
  Cells cells{std::vector<double>(points.at.size()),
              std::vector<int64_t>(static_cast<size_t>(points.n)), 0};
  std::vector<float> x(static_cast<size_t>(p * kBatch));
  for (int batch = 0; batch < batches; ++batch) {
    for (float& value : x) value = rng.normal();
    int index[kBatch] = {};
    nearest(points, x.data(), index);
    for (int t = 0; t < kBatch; ++t) {
      ++cells.counts[static_cast<size_t>(index[t])];
      for (int k = 0; k < p; ++k) {
        const auto at = static_cast<size_t>(index[t] * p + k);
        const double value = x[static_cast<size_t>(k * kBatch + t)];
        cells.sums[at] += value;
        cells.error += (value - points.at[at]) * (value - points.at[at]);
      }
    }
  }
  cells.error /= static_cast<double>(batches) * kBatch * p;
  return cells;
}

double test_error(const Points& points, int batches) {
  Rng rng(kTestSeed);
  return assign(points, rng, batches).error;
}

// Moves the points for some rounds.
void learn(Points* points, Rng& rng, int rounds, int batches) {
  const auto p = static_cast<size_t>(points->p);
  for (int round = 0; round < rounds; ++round) {
    const double share = 1.0 / (1.0 + std::max(0, round - rounds / 2));
    const Cells cells = assign(*points, rng, batches);
    for (size_t i = 0; i < points->at.size(); ++i) {
      float& at = points->at[i];
      const int64_t count = cells.counts[i / p];
      if (count == 0) {
        at = rng.normal();  // an empty cell starts anew
      } else {
        at = static_cast<float>(at + share * (cells.sums[i] / static_cast<double>(count) - at));
      }
    }
  }
}

// The best of many short starts, learnt on with more draws.
Points learn_best(int p, int n, int starts, int rounds, int batches) {
  Points best;
  double least = 1;
  for (int start = 0; start < starts; ++start) {
    Rng rng(kSeed + static_cast<uint64_t>(start));
    Points points{p, n, {}};
    for (int i = 0; i < n * p; ++i) points.at.push_back(rng.normal());
    learn(&points, rng, 40, batches / 10);
    const double error = test_error(points, batches);
    if (error >= least) continue;
    least = error;
    best = std::move(points);
  }
  Rng rng(kSeed - 1);
  learn(&best, rng, rounds, batches);
  return best;
}

// Lloyd-Max of the normal density; *error is exact.
Points lloyd_max(int n, double* error) {
  std::vector<double> c;
  for (int i = 0; i < n; ++i) c.push_back(4.0 * (i + 0.5) / n - 2.0);
  for (int round = 0; round < 20000; ++round) {
    *error = 1;
    double low = -INFINITY;
    for (size_t i = 0; i < c.size(); ++i) {
      const double high = i + 1 < c.size() ? (c[i] + c[i + 1]) / 2 : INFINITY;
      const double mass = below(high) - below(low);
      c[i] = (density(low) - density(high)) / mass;
      *error -= mass * c[i] * c[i];
      low = high;
    }
    for (size_t i = 0; i < c.size() / 2; ++i) {  // keeps the symmetry that rounding would lose
      c[i] = (c[i] - c[c.size() - 1 - i]) / 2;
      c[c.size() - 1 - i] = -c[i];
    }
  }
  return {1, n, {c.begin(), c.end()}};
}

void print(const Points& points, double error) {
  fmt::print("KVKEEP_GRID({}, {}, {:.5f},\n", points.p, points.n, error);
  std::string line = "            ";
  for (size_t i = 0; i < points.at.size(); ++i) {
    const bool last = i + 1 == points.at.size();
    const std::string item = fmt::format(" {:.0f}{}", 1e5 * points.at[i], last ? ")" : ",");
    if (line.size() + item.size() > 100) {
      fmt::print("{}\n", line);
      line = "            ";
    }
    line += line.back() == ' ' && line.size() == 12 ? item.substr(1) : item;
  }
  fmt::print("{}\n", line);
}

void print_all() {
  fmt::print(
      "// KVKEEP_GRID(p, n, mean squared error per coordinate, points [n][p] in 1e-5...)\n"
      "// Written by tools/grids/gaussian_grids.cc.\n");
  for (const int n : {2, 4, 8, 16}) {
    double error;
    const Points points = lloyd_max(n, &error);
    print(points, error);
  }
  for (const auto& [p, n, starts] :
       {std::tuple{2, 16, 100}, {2, 64, 10}, {2, 256, 3}, {4, 16, 100}, {4, 64, 10}, {4, 256, 3}}) {
    const Points points = learn_best(p, n, starts, 500, 3000);
    print(points, test_error(points, 60000));
  }
}

}  // namespace
}  // namespace kvkeep

int main() { kvkeep::print_all(); }
