#include "model/dense_attention.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "base/check.h"
#include "base/fail.h"

namespace kvkeep {
namespace {

// One head's rows in the cache: row t at data + t * stride.
struct Rows {
  const float* data;
  size_t stride, count;
  const float* operator[](size_t t) const { return data + t * stride; }
};

void attend_head(const float* q, const Rows& keys, const Rows& values, int dim, float* out) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(dim));
  std::vector<double> weights(keys.count);
  double max = -INFINITY, total = 0;
  for (size_t t = 0; t < keys.count; ++t) {
    double dot = 0;
    for (int d = 0; d < dim; ++d) dot += static_cast<double>(q[d]) * keys[t][d];
    weights[t] = dot * scale;
    max = std::max(max, weights[t]);
  }
  for (double& weight : weights) total += weight = std::exp(weight - max);
  std::vector<double> sum(static_cast<size_t>(dim));
  for (size_t t = 0; t < values.count; ++t)
    for (int d = 0; d < dim; ++d) sum[static_cast<size_t>(d)] += weights[t] * values[t][d];
  for (int d = 0; d < dim; ++d) out[d] = static_cast<float>(sum[static_cast<size_t>(d)] / total);
}

Result<void> check_finite(const AttentionShape& shape, const AttentionCall& call, char which) {
  const float* row = which == 'k' ? call.k : call.v;
  for (int t = 0; t < call.tokens; ++t)
    for (int head = 0; head < shape.kv_heads; ++head, row += shape.head_dim)
      for (int d = 0; d < shape.head_dim; ++d)
        if (!std::isfinite(row[d]))
          return failed("{} is {} at layer {}, kv_head {}, position {}", which, row[d], call.layer,
                        head, call.first_position + t);
  return {};
}

}  // namespace

DenseAttention::DenseAttention(const AttentionShape& shape)
    : shape_(shape),
      keys_(static_cast<size_t>(shape.layers)),
      values_(static_cast<size_t>(shape.layers)) {}

Result<void> DenseAttention::attend(const AttentionCall& call) {
  KVKEEP_CHECK(call.layer >= 0 && call.layer < shape_.layers, "layer {} of {}", call.layer,
               shape_.layers);
  KVKEEP_TRY(check_finite(shape_, call, 'k'));
  KVKEEP_TRY(check_finite(shape_, call, 'v'));
  const auto dim = static_cast<size_t>(shape_.head_dim);
  const size_t stride = static_cast<size_t>(shape_.kv_heads) * dim;
  const auto tokens = static_cast<size_t>(call.tokens);
  auto& keys = keys_[static_cast<size_t>(call.layer)];
  auto& values = values_[static_cast<size_t>(call.layer)];
  const size_t before = keys.size() / stride;
  keys.insert(keys.end(), call.k, call.k + tokens * stride);
  values.insert(values.end(), call.v, call.v + tokens * stride);
  const float* q = call.q;
  float* out = call.out;
  for (size_t t = 0; t < tokens; ++t)
    for (int head = 0; head < shape_.q_heads; ++head, q += dim, out += dim) {
      const size_t offset = static_cast<size_t>(head / shape_.gqa_ratio()) * dim;
      const size_t count = before + t + 1;
      attend_head(q, {keys.data() + offset, stride, count}, {values.data() + offset, stride, count},
                  shape_.head_dim, out);
    }
  return {};
}

}  // namespace kvkeep
