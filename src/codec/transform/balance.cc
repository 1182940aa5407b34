// MiKV's dynamic outlier awareness (Yang et al. 2024, arXiv 2402.18096, eq. 2-4): per (layer,
// kv_head, channel) b = sqrt(max|q| / max|k|) over the prompt; keys are coded as k * b and the
// query is divided by b, so q . k stays and channels with large keys shrink into the common range.
// It acts on keys after RoPE, only in coded tiers, and is frozen once the prompt is known; with
// refresh=n, rows coded n tokens later get factors of their own, from the queries since and the
// newest keys. Under GQA queries are those of all q_heads of the group.
//
// by=rms is ours: b = sqrt(rms q / rms k). Codes of step s on all channels of k * b give a logit
// the mean squared error s^2 / 12 * sum(q^2 / b^2), and s^2 grows with the power sum(k^2 b^2) once
// a rotation has spread it; the product is least at these factors (Cauchy and Schwarz). Only ratios
// of factors matter there, so their geometric mean is made 1.
#include <algorithm>
#include <cmath>

#include "base/aligned_buffer.h"
#include "base/half.h"
#include "codec/transform/transform.h"
#include "kernels/isa.h"
#include "kernels/layout.h"

namespace kvkeep {
namespace {

constexpr float kLeast = 0x1p-8f, kMost = 0x1p8f;  // keeps k * b within f16 reach

class Balance : public Transform {
 public:
  // For `heads` heads; one stands for whichever head it is asked about.
  Balance(int heads, int kv_heads, int head_dim, int refresh, QuerySummary by)
      : kv_heads_(kv_heads),
        dim_(head_dim),
        refresh_(refresh),
        by_(by),
        fitted_(static_cast<size_t>(heads)),
        factors_(static_cast<size_t>(heads * head_dim)) {
    std::fill_n(factors_.data(), factors_.size(), f32_to_f16(1.0f));
  }

  std::unique_ptr<Transform> clone() const override { return std::make_unique<Balance>(*this); }
  int order() const override { return 1; }
  bool needs_fit() const override { return true; }
  QuerySummary query_summary() const override { return by_; }
  size_t state_bytes() const override {
    return factors_.bytes() + fitted_.capacity() * sizeof(int);
  }

  Refits refits() const override { return refresh_ > 0 ? Refits::asked : Refits::never; }
  bool may_refit(HeadIndex head, int tokens) const override {
    return refresh_ > 0 && tokens - fitted_[index(head)] >= refresh_;
  }
  std::optional<std::shared_ptr<Transform>> refit(HeadIndex head,
                                                  const FitInput& input) const override {
    auto fresh = std::make_shared<Balance>(1, kv_heads_, dim_, refresh_, by_);
    fresh->fit(head, input);
    return fresh;
  }

  void fit(HeadIndex head, const FitInput& input) override {
    fitted_[index(head)] = input.tokens;
    const auto dim = static_cast<size_t>(dim_);
    std::vector<double> keys(dim), logs(dim);  // log b; channels without keys or queries keep b = 1
    for (size_t i = 0; i < input.keys.size(); i += dim)
      for (size_t c = 0; c < dim; ++c) {
        const double size = std::fabs(input.keys[i + c]);
        keys[c] = by_ == QuerySummary::largest ? std::max(keys[c], size) : keys[c] + size * size;
      }
    const double root = by_ == QuerySummary::largest ? 0.5 : 0.25;
    double sum = 0.0;
    int found = 0;
    const auto known = [&](size_t c) { return keys[c] > 0.0 && input.queries[c] > 0.0f; };
    for (size_t c = 0; c < dim; ++c) {
      if (!known(c)) continue;
      logs[c] = root * std::log(input.queries[c] / keys[c]);
      sum += logs[c];
      ++found;
    }
    const double middle = by_ == QuerySummary::largest || found == 0 ? 0.0 : sum / found;
    for (size_t c = 0; c < dim; ++c)
      if (known(c))
        factor(head)[c] =
            f32_to_f16(std::clamp(static_cast<float>(std::exp(logs[c] - middle)), kLeast, kMost));
  }

  void forward_key(HeadIndex head, float* key, int) const override {
    float b[kMaxHeadDim];
    kernels().f16_to_f32(factor(head), b, dim_);
    for (int c = 0; c < dim_; ++c) key[c] *= b[c];
  }
  void inverse_key(HeadIndex head, float* key, int) const override {
    float b[kMaxHeadDim];
    kernels().f16_to_f32(factor(head), b, dim_);
    for (int c = 0; c < dim_; ++c) key[c] /= b[c];
  }
  void query(HeadIndex head, float* rows, int count, int stride) const override {
    float b[kMaxHeadDim];
    kernels().f16_to_f32(factor(head), b, dim_);
    for (int r = 0; r < count; ++r)
      for (int c = 0; c < dim_; ++c) rows[r * stride + c] /= b[c];
  }

 private:
  size_t index(HeadIndex head) const {
    return fitted_.size() == 1 ? 0 : static_cast<size_t>(head.layer * kv_heads_ + head.kv_head);
  }
  uint16_t* factor(HeadIndex head) {
    return factors_.data() + index(head) * static_cast<size_t>(dim_);
  }
  const uint16_t* factor(HeadIndex head) const { return const_cast<Balance*>(this)->factor(head); }

  int kv_heads_, dim_, refresh_;  // refresh: tokens, 0 = never
  QuerySummary by_;
  std::vector<int> fitted_;          // [heads]: tokens seen then
  AlignedBuffer<uint16_t> factors_;  // b, f16 [heads][head_dim]
};

}  // namespace

std::unique_ptr<Transform> make_transform_balance(const Plan::Slot& slot,
                                                  const TransformContext& context) {
  return std::make_unique<Balance>(
      context.layers * context.kv_heads, context.kv_heads, context.head_dim,
      static_cast<int>(slot.number("refresh")),
      slot.param("by") == "rms" ? QuerySummary::squares : QuerySummary::largest);
}

}  // namespace kvkeep
