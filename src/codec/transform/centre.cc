// Key centring: before RoPE most of a key's power is one constant vector. The prompt's mean
// pre-RoPE key m of each (layer, kv_head) is kept as one f16 vector, rotated to a token's position
// and subtracted before the key is coded; the quantizer then spends its levels on what differs.
//
// Reading adds q . (R_p m) to the logit of position p. With the channel pairs of q and m as complex
// numbers this is sum_i A_i cos(p w_i) + B_i sin(p w_i), A_i = Re(q_i conj m_i), B_i = Im(...).
// With p = 64 a + b, (A, B) is turned by 64 a once for a run of slots, then one dot product with
// the cosines and sines of b gives the bias of a slot; the tables stay small, and all sequences of
// a model share them.
//
// The mean is frozen. When the text changes kind, the newest keys may lie no closer to it than to
// zero; subtracting it would then add power, so rows coded from then on are coded as they are.
#include <algorithm>
#include <cmath>

#include "base/aligned_buffer.h"
#include "base/half.h"
#include "codec/transform/transform.h"
#include "codec/transform/waves.h"
#include "kernels/isa.h"

namespace kvkeep {
namespace {

constexpr int kStride = Waves::kStride;

class Centre : public Transform {
 public:
  Centre(const TransformContext& context, bool guard)
      : context_(context),
        guard_(guard),
        pairs_(context.rope.dim / 2),
        means_(static_cast<size_t>(context.layers * context.kv_heads * context.head_dim)),
        waves_(Waves::of(context.rope, context.context)) {}

  std::unique_ptr<Transform> clone() const override { return std::make_unique<Centre>(*this); }
  int order() const override { return 0; }
  bool needs_fit() const override { return true; }
  bool has_bias() const override { return true; }
  size_t state_bytes() const override { return means_.bytes(); }
  size_t shared_bytes() const override { return waves_->bytes(); }

  void fit(HeadIndex head, const FitInput& input) override {
    const auto& [keys, positions, queries, tokens] = input;
    const auto dim = static_cast<size_t>(context_.head_dim);
    std::vector<double> sum(dim);
    float cosine[kMaxDim / 2], sine[kMaxDim / 2];
    for (size_t t = 0; t < positions.size(); ++t) {
      const float* key = keys.data() + t * dim;
      waves_->angles(positions[t], cosine, sine);
      for (int i = 0; i < pairs_; ++i) {  // turned back
        const auto [a, b] = pair(i);
        sum[static_cast<size_t>(a)] += key[a] * cosine[i] + key[b] * sine[i];
        sum[static_cast<size_t>(b)] += key[b] * cosine[i] - key[a] * sine[i];
      }
      for (size_t c = static_cast<size_t>(context_.rope.dim); c < dim; ++c) sum[c] += key[c];
    }
    for (size_t c = 0; c < dim; ++c)
      mean(head)[c] = f32_to_f16(
          static_cast<float>(sum[c] / static_cast<double>(std::max<size_t>(positions.size(), 1))));
  }

  Refits refits() const override { return guard_ ? Refits::where_possible : Refits::never; }
  bool may_refit(HeadIndex, int) const override { return guard_; }
  std::optional<std::shared_ptr<Transform>> refit(HeadIndex head,
                                                  const FitInput& input) const override {
    const auto dim = static_cast<size_t>(context_.head_dim);
    const size_t n = input.positions.size(), least = n - std::min<size_t>(n, kGuardRows);
    double before = 0.0, after = 0.0;  // power
    std::vector<float> row(dim);
    for (size_t t = least; t < n; ++t) {
      std::copy_n(input.keys.data() + t * dim, dim, row.data());
      for (float x : row) before += x * x;
      forward_key(head, row.data(), input.positions[t]);
      for (float x : row) after += x * x;
    }
    if (n - least < kFewestGuardRows || after < before) return std::nullopt;
    return nullptr;
  }

  void forward_key(HeadIndex head, float* key, int position) const override {
    add_rotated_mean(head, key, position, -1.0f);
  }
  void inverse_key(HeadIndex head, float* key, int position) const override {
    add_rotated_mean(head, key, position, 1.0f);
  }

  void bias(HeadIndex head, const float* q, std::span<const int32_t> positions,
            float* logits) const override {
    float m[kMaxDim], still[kMaxDim], turned[kMaxDim];  // A then B, at position 0 and at 64 a
    kernels().f16_to_f32(mean(head), m, context_.head_dim);
    float constant = 0.0f;
    for (int i = 0; i < pairs_; ++i) {
      const auto [a, b] = pair(i);
      still[i] = q[a] * m[a] + q[b] * m[b];
      still[pairs_ + i] = q[b] * m[a] - q[a] * m[b];
    }
    for (int c = context_.rope.dim; c < context_.head_dim; ++c) constant += q[c] * m[c];
    const auto dot = kernels().dot;
    for (size_t t = 0; t < positions.size(); ++t) {
      if (t == 0 || positions[t] / kStride != positions[t - 1] / kStride)
        turn(still, positions[t] / kStride, turned);
      logits[t] += constant + dot(turned, waves_->fine(positions[t] % kStride), 2 * pairs_);
    }
  }

 private:
  static constexpr int kMaxDim = 512;
  static constexpr size_t kGuardRows = 64, kFewestGuardRows = 16;

  struct Pair {
    int a, b;
  };
  Pair pair(int i) const {
    return context_.rope.interleaved ? Pair{2 * i, 2 * i + 1} : Pair{i, i + pairs_};
  }
  uint16_t* mean(HeadIndex head) {
    return means_.data() + (head.layer * context_.kv_heads + head.kv_head) * context_.head_dim;
  }
  const uint16_t* mean(HeadIndex head) const { return const_cast<Centre*>(this)->mean(head); }
  // A cos(x + y) + B sin(x + y) as a function of y, for the coarse angles x.
  void turn(const float* still, int coarse, float* turned) const {
    const float* x = waves_->coarse(coarse);
    for (int i = 0; i < pairs_; ++i) {
      const float a = still[i], b = still[pairs_ + i], c = x[i], s = x[pairs_ + i];
      turned[i] = a * c + b * s;
      turned[pairs_ + i] = b * c - a * s;
    }
  }

  void add_rotated_mean(HeadIndex head, float* key, int position, float sign) const {
    float m[kMaxDim], cosine[kMaxDim / 2], sine[kMaxDim / 2];
    kernels().f16_to_f32(mean(head), m, context_.head_dim);
    waves_->angles(position, cosine, sine);
    const auto [step, second] = context_.rope.interleaved ? Pair{2, 1} : Pair{1, pairs_};
    for (int i = 0, a = 0, b = second; i < pairs_; ++i, a += step, b += step) {
      key[a] += sign * (m[a] * cosine[i] - m[b] * sine[i]);
      key[b] += sign * (m[a] * sine[i] + m[b] * cosine[i]);
    }
    for (int c = context_.rope.dim; c < context_.head_dim; ++c) key[c] += sign * m[c];
  }

  TransformContext context_;
  bool guard_;
  int pairs_;
  AlignedBuffer<uint16_t> means_;  // [layers][kv_heads][head_dim], f16, before RoPE
  std::shared_ptr<const Waves> waves_;
};

}  // namespace

std::unique_ptr<Transform> make_transform_centre(const Plan::Slot& slot,
                                                 const TransformContext& context) {
  return std::make_unique<Centre>(context, slot.param("guard") == "on");
}

}  // namespace kvkeep
