// Key centring: before RoPE most of a key's power is one constant vector. The prompt's mean
// pre-RoPE key m of each (layer, kv_head) is kept as one f16 vector, rotated to a token's position
// and subtracted before the key is coded; the quantizer then spends its levels on what differs.
//
// Reading adds q . (R_p m) to the logit of position p. With the channel pairs of q and m as complex
// numbers this is sum_i A_i cos(p w_i) + B_i sin(p w_i), A_i = Re(q_i conj m_i), B_i = Im(...): one
// dot product of length head_dim per token with a table of cosines and sines that all layers, heads
// and sequences share.
#include <algorithm>
#include <cmath>

#include "base/aligned_buffer.h"
#include "base/half.h"
#include "codec/transform/transform.h"
#include "kernels/isa.h"

namespace kvkeep {
namespace {

class Centre : public Transform {
 public:
  explicit Centre(const TransformContext& context)
      : context_(context),
        rope_(context.rope),
        pairs_(context.rope.dim / 2),
        means_(static_cast<size_t>(context.layers * context.kv_heads * context.head_dim)),
        table_(static_cast<size_t>(context.context) * static_cast<size_t>(context.rope.dim)) {
    for (int p = 0; p < context.context; ++p) {
      float* row = table_row(p);
      for (int i = 0; i < pairs_; ++i) {
        const double angle = p * rope_.frequencies()[static_cast<size_t>(i)];
        row[i] = static_cast<float>(std::cos(angle));
        row[pairs_ + i] = static_cast<float>(std::sin(angle));
      }
    }
  }

  int order() const override { return 0; }
  bool needs_fit() const override { return true; }
  bool has_bias() const override { return true; }
  size_t state_bytes() const override { return means_.bytes(); }
  size_t shared_bytes() const override { return table_.bytes(); }

  void fit(HeadIndex head, const FitInput& input) override {
    const auto [keys, positions, query_max] = input;
    const auto dim = static_cast<size_t>(context_.head_dim);
    std::vector<double> sum(dim);
    std::vector<float> row(dim);
    for (size_t t = 0; t < positions.size(); ++t) {
      std::copy_n(keys.data() + t * dim, dim, row.data());
      rope_.apply(row.data(), positions[t], -1);
      for (size_t c = 0; c < dim; ++c) sum[c] += row[c];
    }
    for (size_t c = 0; c < dim; ++c)
      mean(head)[c] = f32_to_f16(
          static_cast<float>(sum[c] / static_cast<double>(std::max<size_t>(positions.size(), 1))));
  }

  void forward_key(HeadIndex head, float* key, int position) const override {
    add_rotated_mean(head, key, position, -1.0f);
  }
  void inverse_key(HeadIndex head, float* key, int position) const override {
    add_rotated_mean(head, key, position, 1.0f);
  }

  void bias(HeadIndex head, const float* q, std::span<const int32_t> positions,
            float* logits) const override {
    const uint16_t* m = mean(head);
    float waves[kMaxDim];  // A then B
    float constant = 0.0f;
    for (int i = 0; i < pairs_; ++i) {
      const auto [a, b] = pair(i);
      const float c = f16_to_f32(m[a]), s = f16_to_f32(m[b]);
      waves[i] = q[a] * c + q[b] * s;
      waves[pairs_ + i] = q[b] * c - q[a] * s;
    }
    for (int c = context_.rope.dim; c < context_.head_dim; ++c) constant += q[c] * f16_to_f32(m[c]);
    const auto dot = kernels().dot;
    for (size_t t = 0; t < positions.size(); ++t)
      logits[t] += constant + dot(waves, table_row(positions[t]), 2 * pairs_);
  }

 private:
  static constexpr int kMaxDim = 512;

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
  float* table_row(int position) {
    return table_.data() + static_cast<size_t>(position) * static_cast<size_t>(context_.rope.dim);
  }
  const float* table_row(int position) const {
    return const_cast<Centre*>(this)->table_row(position);
  }

  void add_rotated_mean(HeadIndex head, float* key, int position, float sign) const {
    const uint16_t* m = mean(head);
    const float* wave = table_row(position);
    for (int i = 0; i < pairs_; ++i) {
      const auto [a, b] = pair(i);
      const float c = f16_to_f32(m[a]), s = f16_to_f32(m[b]);
      key[a] += sign * (c * wave[i] - s * wave[pairs_ + i]);
      key[b] += sign * (c * wave[pairs_ + i] + s * wave[i]);
    }
    for (int c = context_.rope.dim; c < context_.head_dim; ++c) key[c] += sign * f16_to_f32(m[c]);
  }

  TransformContext context_;
  Rope rope_;
  int pairs_;
  AlignedBuffer<uint16_t> means_;  // [layers][kv_heads][head_dim], f16, before RoPE
  AlignedBuffer<float> table_;     // [context][cos of each pair, then sin of each pair]
};

}  // namespace

std::unique_ptr<Transform> make_transform_centre(const Plan::Slot&,
                                                 const TransformContext& context) {
  return std::make_unique<Centre>(context);
}

}  // namespace kvkeep
