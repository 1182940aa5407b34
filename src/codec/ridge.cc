#include "codec/ridge.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/rng.h"
#include "kernels/isa.h"

namespace kvkeep {
namespace {

constexpr int kBlockRows = 128;  // summed in float32
constexpr int kPowerSteps = 60;  // of the iteration for eigenvectors

size_t at(int row, int column, int columns) {
  return static_cast<size_t>(row) * static_cast<size_t>(columns) + static_cast<size_t>(column);
}

}  // namespace

Ridge::Ridge(int inputs, int outputs)
    : inputs_(inputs),
      outputs_(outputs),
      sum_(static_cast<size_t>(inputs + outputs)),
      moments_(at(inputs, 0, inputs + outputs)) {}

void Ridge::add(const float* x, const float* y, int rows) {
  const int all = inputs_ + outputs_;
  const auto width = static_cast<size_t>(all);
  std::vector<float> joined(kBlockRows * width), turned(at(inputs_, 0, kBlockRows)),
      products(at(inputs_, 0, all));
  for (int first = 0; first < rows; first += kBlockRows) {
    const int n = std::min(kBlockRows, rows - first);
    for (int r = 0; r < n; ++r) {
      float* row = joined.data() + at(r, 0, all);
      std::copy_n(x + at(first + r, 0, inputs_), inputs_, row);
      std::copy_n(y + at(first + r, 0, outputs_), outputs_, row + inputs_);
    }
    if (shift_.empty()) {
      shift_.resize(width);
      for (int c = 0; c < all; ++c) {
        for (int r = 0; r < n; ++r) shift_[static_cast<size_t>(c)] += joined[at(r, c, all)];
        shift_[static_cast<size_t>(c)] /= static_cast<float>(n);
      }
    }
    for (int r = 0; r < n; ++r)
      for (int c = 0; c < all; ++c) {
        float& value = joined[at(r, c, all)];
        value -= shift_[static_cast<size_t>(c)];
        sum_[static_cast<size_t>(c)] += value;
        if (c < inputs_) turned[at(c, r, n)] = value;
      }
    std::fill(products.begin(), products.end(), 0.0f);
    kernels().add_products(turned.data(), n, inputs_, joined.data(), n, all, products.data(), all);
    for (size_t i = 0; i < products.size(); ++i) moments_[i] += products[i];
    rows_ += n;
  }
}

// Weights [in][out] of some inputs and outputs from the centred moments.
std::vector<double> Ridge::solve_block(const std::vector<int>& in, const std::vector<int>& out,
                                       double lambda) const {
  const int k = static_cast<int>(in.size()), m = static_cast<int>(out.size());
  const int all = inputs_ + outputs_;
  const auto rows = static_cast<double>(std::max<int64_t>(rows_, 1));
  std::vector<double> a(at(k, 0, k)), b(at(k, 0, m));
  for (int i = 0; i < k; ++i) {
    const int row = in[static_cast<size_t>(i)];
    const double mean = sum_[static_cast<size_t>(row)] / rows;
    for (int j = 0; j < k; ++j) {
      const int column = in[static_cast<size_t>(j)];
      a[at(i, j, k)] = moments_[at(row, column, all)] - mean * sum_[static_cast<size_t>(column)];
    }
    a[at(i, i, k)] += lambda;
    for (int j = 0; j < m; ++j) {
      const int column = inputs_ + out[static_cast<size_t>(j)];
      b[at(i, j, m)] = moments_[at(row, column, all)] - mean * sum_[static_cast<size_t>(column)];
    }
  }
  if (!solve_spd(a, k, b, m)) std::fill(b.begin(), b.end(), 0.0);  // inputs that never varied
  return b;
}

// Of what the full map predicts, the directions that vary most (reduced-rank regression): A [in]
// [rank] and B [rank][out] with W B' B in the place of W.
void Ridge::reduce(const std::vector<double>& full, int rank, std::vector<double>* left,
                   std::vector<double>* right) const {
  const int all = inputs_ + outputs_;
  const auto rows = static_cast<double>(std::max<int64_t>(rows_, 1));
  std::vector<double> half(at(inputs_, 0, outputs_)), c(at(outputs_, 0, outputs_));
  for (int i = 0; i < inputs_; ++i)
    for (int j = 0; j < inputs_; ++j) {
      const double moment = moments_[at(i, j, all)] -
                            sum_[static_cast<size_t>(i)] * sum_[static_cast<size_t>(j)] / rows;
      for (int o = 0; o < outputs_; ++o)
        half[at(i, o, outputs_)] += moment * full[at(j, o, outputs_)];
    }
  for (int i = 0; i < inputs_; ++i)
    for (int o = 0; o < outputs_; ++o)
      for (int p = 0; p < outputs_; ++p)
        c[at(o, p, outputs_)] += full[at(i, o, outputs_)] * half[at(i, p, outputs_)];
  *right = leading_eigenvectors(c, outputs_, rank);
  left->assign(at(inputs_, 0, rank), 0.0);
  for (int i = 0; i < inputs_; ++i)
    for (int r = 0; r < rank; ++r)
      for (int o = 0; o < outputs_; ++o)
        (*left)[at(i, r, rank)] += full[at(i, o, outputs_)] * (*right)[at(r, o, outputs_)];
}

std::vector<double> Ridge::solve_heads(double ridge, int heads) const {
  const int all = inputs_ + outputs_, block = outputs_ / heads;
  const auto rows = static_cast<double>(std::max<int64_t>(rows_, 1));
  double trace = 0;
  for (int i = 0; i < inputs_; ++i) {
    const double sum = sum_[static_cast<size_t>(i)];
    trace += moments_[at(i, i, all)] - sum * sum / rows;
  }
  std::vector<double> weights(at(inputs_, 0, outputs_));
  if (inputs_ == 0) return weights;
  const double lambda = ridge * trace / inputs_ + 1e-12 * rows;
  for (int h = 0; h < heads; ++h) {
    std::vector<int> in, out(static_cast<size_t>(block));
    std::iota(out.begin(), out.end(), h * block);
    for (int i = 0; i < inputs_; ++i)
      if (heads == 1 || i % outputs_ / block == h) in.push_back(i);
    const std::vector<double> own = solve_block(in, out, lambda);
    for (size_t i = 0; i < in.size(); ++i)
      for (size_t j = 0; j < out.size(); ++j)
        weights[at(in[i], out[j], outputs_)] = own[i * out.size() + j];
  }
  return weights;
}

RidgeMap Ridge::solve(double ridge, int rank, int heads) const {
  const auto rows = static_cast<double>(std::max<int64_t>(rows_, 1));
  std::vector<double> weights = solve_heads(ridge, heads), left, right;
  RidgeMap map;
  map.weights.assign(weights.begin(), weights.end());
  if (rank > 0 && inputs_ > 0) {
    reduce(weights, rank, &left, &right);
    map.weights.assign(left.begin(), left.end());
    map.weights.insert(map.weights.end(), right.begin(), right.end());
    std::fill(weights.begin(), weights.end(), 0.0);
    for (int i = 0; i < inputs_; ++i)
      for (int r = 0; r < rank; ++r)
        for (int o = 0; o < outputs_; ++o)
          weights[at(i, o, outputs_)] += left[at(i, r, rank)] * right[at(r, o, outputs_)];
  }
  for (int o = 0; o < outputs_; ++o) {
    const auto y = static_cast<size_t>(inputs_ + o);
    double bias = sum_[y] / rows + (shift_.empty() ? 0.0f : shift_[y]);
    for (int i = 0; i < inputs_; ++i) {
      const auto x = static_cast<size_t>(i);
      bias -= (sum_[x] / rows + shift_[x]) * weights[at(i, o, outputs_)];
    }
    map.bias.push_back(static_cast<float>(bias));
  }
  return map;
}

bool solve_spd(std::vector<double>& a, int n, std::vector<double>& b, int m) {
  for (int i = 0; i < n; ++i)
    for (int j = 0; j <= i; ++j) {
      double sum = a[at(i, j, n)];
      for (int k = 0; k < j; ++k) sum -= a[at(i, k, n)] * a[at(j, k, n)];
      if (i > j) {
        a[at(i, j, n)] = sum / a[at(j, j, n)];
      } else {
        if (!(sum > 0) || !std::isfinite(sum)) return false;
        a[at(i, i, n)] = std::sqrt(sum);
      }
    }
  const auto subtract = [&](int to, int from, double factor) {
    for (int c = 0; c < m; ++c) b[at(to, c, m)] -= factor * b[at(from, c, m)];
  };
  for (int i = 0; i < n; ++i) {
    for (int k = 0; k < i; ++k) subtract(i, k, a[at(i, k, n)]);
    for (int c = 0; c < m; ++c) b[at(i, c, m)] /= a[at(i, i, n)];
  }
  for (int i = n - 1; i >= 0; --i) {
    for (int k = i + 1; k < n; ++k) subtract(i, k, a[at(k, i, n)]);
    for (int c = 0; c < m; ++c) b[at(i, c, m)] /= a[at(i, i, n)];
  }
  return true;
}

std::vector<double> leading_eigenvectors(const std::vector<double>& c, int n, int r) {
  Rng rng(1);
  std::vector<double> basis(at(r, 0, n)), next(at(r, 0, n));
  for (double& x : basis) x = rng.normal();
  for (int step = 0; step < kPowerSteps; ++step) {
    std::fill(next.begin(), next.end(), 0.0);
    for (int i = 0; i < r; ++i)
      for (int j = 0; j < n; ++j)
        for (int k = 0; k < n; ++k) next[at(i, k, n)] += basis[at(i, j, n)] * c[at(j, k, n)];
    for (int i = 0; i < r; ++i) {  // orthonormal rows, by Gram and Schmidt, twice for safety
      double* row = next.data() + at(i, 0, n);
      for (int pass = 0; pass < 2; ++pass)
        for (int j = 0; j < i; ++j) {
          const double* other = next.data() + at(j, 0, n);
          const double along = std::inner_product(row, row + n, other, 0.0);
          for (int k = 0; k < n; ++k) row[k] -= along * other[k];
        }
      const double norm = std::sqrt(std::inner_product(row, row + n, row, 0.0));
      for (int k = 0; k < n; ++k) row[k] = norm > 1e-150 ? row[k] / norm : 0.0;
    }
    basis.swap(next);
  }
  return basis;
}

}  // namespace kvkeep
