#include "codec/query_stats.h"

#include <cmath>

#include "kernels/gemm.h"
#include "kernels/layout.h"

namespace kvkeep {
namespace {

constexpr int kEnoughRows = 256;

}  // namespace

QueryStats::QueryStats(int layers, int kv_heads, int head_dim, const RopeConfig& rope)
    : layers_(layers),
      kv_heads_(kv_heads),
      head_dim_(head_dim),
      rope_(rope),
      rows_(static_cast<size_t>(layers)) {}

void QueryStats::observe(int layer, const float* q, int rows, int gqa_ratio, int first_position) {
  const auto d = static_cast<size_t>(head_dim_), n = static_cast<size_t>(rows);
  if (gqa_ratio_ == 0) {
    gqa_ratio_ = gqa_ratio;
    const auto heads = static_cast<size_t>(layers_ * kv_heads_ * gqa_ratio);
    sums_.resize(heads * d);
    products_.resize(heads * d * d);
  }
  int& seen = rows_[static_cast<size_t>(layer)];
  if (rows == 1 && seen >= kEnoughRows) return;
  seen += rows;
  const int q_heads = kv_heads_ * gqa_ratio_;
  std::vector<float> columns(d * n), ones(n, 1.0f);
  float row[kMaxHeadDim], cos[kMaxHeadDim / 2], sin[kMaxHeadDim / 2];
  for (int h = 0; h < q_heads; ++h) {
    for (size_t r = 0; r < n; ++r) {
      const float* from = q + (static_cast<ptrdiff_t>(r) * q_heads + h) * head_dim_;
      std::copy(from, from + d, row);
      rope_.angles(first_position + static_cast<int>(r), cos, sin);
      rope_.rotate(row, cos, sin, -1);
      for (size_t c = 0; c < d; ++c) columns[c * n + r] = row[c];
    }
    const size_t at = index(layer, h) * d;
    gemm_nt(head_dim_, head_dim_, rows, 1.0f, columns.data(), rows, columns.data(), rows, 1.0f,
            products_.data() + at * d, head_dim_);
    gemm_nt(1, head_dim_, rows, 1.0f, ones.data(), rows, columns.data(), rows, 1.0f,
            sums_.data() + at, head_dim_);
  }
}

// The mean of rotations is a linear map again: (mean of cos, mean of sin) of each pair, which for a
// run of positions are those of its middle, shrunk by a ratio of two sines.
QueryStats::Moments QueryStats::foretell(HeadIndex head, int q_head, int first, int count) const {
  const auto d = static_cast<size_t>(head_dim_);
  const size_t at = index(head.layer, head.kv_head * gqa_ratio_ + q_head) * d;
  const auto n = static_cast<float>(rows_[static_cast<size_t>(head.layer)]);
  float cos[kMaxHeadDim / 2], sin[kMaxHeadDim / 2];
  for (size_t i = 0; i < rope_.frequencies().size(); ++i) {
    const double half = rope_.frequencies()[i] / 2, middle = 2 * first + count - 1;
    const double divisor = count * std::sin(half);
    const double shrink = std::fabs(divisor) < 1e-12 ? 1.0 : std::sin(count * half) / divisor;
    cos[i] = static_cast<float>(shrink * std::cos(middle * half));
    sin[i] = static_cast<float>(shrink * std::sin(middle * half));
  }
  Moments moments{
      {sums_.begin() + static_cast<ptrdiff_t>(at), sums_.begin() + static_cast<ptrdiff_t>(at + d)},
      std::vector<float>(d * d)};
  for (float& x : moments.mean) x /= n;
  for (size_t a = 0; a < d; ++a)  // transposed after the first turn, as it was after the second
    for (size_t b = 0; b < d; ++b)
      moments.covariance[a * d + b] =
          products_[at * d + a * d + b] / n - moments.mean[a] * moments.mean[b];
  std::vector<float> turned(d * d);
  for (std::vector<float>* from : {&moments.covariance, &turned}) {
    std::vector<float>& to = from == &turned ? moments.covariance : turned;
    for (size_t a = 0; a < d; ++a) rope_.rotate(from->data() + a * d, cos, sin);
    for (size_t a = 0; a < d; ++a)
      for (size_t b = 0; b < d; ++b) to[b * d + a] = (*from)[a * d + b];
  }
  rope_.rotate(moments.mean.data(), cos, sin);
  return moments;
}

}  // namespace kvkeep
