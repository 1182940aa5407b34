#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "base/fail.h"
#include "model/transformer_impl.h"

namespace kvkeep {
namespace {

constexpr int kMaxPosition = 1 << 30;
constexpr int kItemTokens = 8;  // of the loops over tokens

// Work on each token, in parallel when there are several.
template <class Work>
void for_tokens(ThreadPool& pool, int tokens, const Work& work) {
  pool.run((tokens + kItemTokens - 1) / kItemTokens, [&work, tokens](int64_t item, int) {
    const int first = static_cast<int>(item) * kItemTokens;
    for (int t = first; t < std::min(first + kItemTokens, tokens); ++t) work(t);
  });
}

// out = x / rms(x) * weight; out may be x.
void rms_norm(const KernelTable& kernels, const float* x, const std::vector<float>& weight,
              float eps, float* out) {
  const int n = static_cast<int>(weight.size());
  const float mean = kernels.dot(x, x, n) / static_cast<float>(n);
  const float factor = 1.0f / std::sqrt(mean + eps);
  const float* w = weight.data();
  for (int i = 0; i < n; ++i) out[i] = x[i] * factor * w[i];
}

// gate = silu(gate) * up, with exp only of what is not positive.
void swiglu(const KernelTable& kernels, float* gate, const float* up, int n) {
  constexpr int kChunk = 256;
  float e[kChunk];
  for (int at = 0; at < n; at += kChunk, gate += kChunk, up += kChunk) {
    const int count = std::min(kChunk, n - at);
    for (int i = 0; i < count; ++i) e[i] = -std::abs(gate[i]);
    kernels.exp_sum(e, count, 0.0f);
    for (int i = 0; i < count; ++i) {
      const float numerator = gate[i] < 0.0f ? e[i] : 1.0f;
      gate[i] *= numerator / (1.0f + e[i]) * up[i];
    }
  }
}

void add(float* x, const float* y, int n) {
  for (int i = 0; i < n; ++i) x[i] += y[i];
}

}  // namespace

// One slice, or one token each of several sequences, on its way through the layers.
struct Transformer::Pass {
  const Impl& m;
  Scratch& s;
  ThreadPool& pool;
  AttentionSite& site;
  int tokens;
  const int32_t* ids;
  const int* positions;
  bool by_row;  // the bits of a token do not depend on the others

  const ModelConfig& config() const { return m.config; }
  size_t at(int t, int width) const { return static_cast<size_t>(t) * static_cast<size_t>(width); }

  void embed() {
    const int dim = config().dim, pairs = config().rope.dim / 2;
    for_tokens(pool, tokens, [&](int t) {
      read_row(m.weights.embedding, ids[t], *s.kernels, &s.x[at(t, dim)]);
      m.rope.angles(positions[t], &s.cosines[at(t, pairs)], &s.sines[at(t, pairs)]);
    });
  }

  void norm(const std::vector<float>& weight) {
    const int dim = config().dim;
    for_tokens(pool, tokens, [&](int t) {
      rms_norm(*s.kernels, &s.x[at(t, dim)], weight, config().norm_eps, &s.normed[at(t, dim)]);
    });
  }

  // Q and K norm of qwen3, then RoPE, on the heads of one token's row.
  void turn_heads(float* row, int heads, const std::vector<float>& weight, int t) {
    const int pairs = config().rope.dim / 2;
    for (int head = 0; head < heads; ++head, row += config().head_dim) {
      if (!weight.empty()) rms_norm(*s.kernels, row, weight, config().norm_eps, row);
      m.rope.rotate(row, &s.cosines[at(t, pairs)], &s.sines[at(t, pairs)]);
    }
  }

  void multiply_by(std::span<const Product> products, const float* x) {
    multiply(products, x, tokens, *s.kernels, pool, s.linear, by_row);
  }

  // x += matrix * input
  void add_product(const Matrix& matrix, const float* input) {
    const Product product{&matrix, s.normed.data(), config().dim};
    multiply_by({&product, 1}, input);
    const int dim = config().dim;
    for_tokens(pool, tokens, [&](int t) { add(&s.x[at(t, dim)], &s.normed[at(t, dim)], dim); });
  }

  Result<void> attend(int layer) {
    const LayerWeights& w = m.weights.layers[static_cast<size_t>(layer)];
    const int q_dim = config().q_dim(), kv_dim = config().kv_dim();
    norm(w.attention_norm);
    const std::array products{Product{&w.q, s.q.data(), q_dim, w.q_bias},
                              Product{&w.k, s.k.data(), kv_dim, w.k_bias},
                              Product{&w.v, s.v.data(), kv_dim, w.v_bias}};
    multiply_by(products, s.normed.data());
    for_tokens(pool, tokens, [&](int t) {
      turn_heads(&s.q[at(t, q_dim)], config().q_heads, w.q_norm, t);
      turn_heads(&s.k[at(t, kv_dim)], config().kv_heads, w.k_norm, t);
    });
    KVKEEP_TRY(site.attend({layer, tokens, positions[0], s.q.data(), s.k.data(), s.v.data(),
                            s.attention.data(), ids}));
    add_product(w.output, s.attention.data());
    return {};
  }

  void feed_forward(const LayerWeights& w) {
    const int ffn = config().ffn_dim;
    norm(w.ffn_norm);
    const std::array products{Product{&w.gate, s.gate.data(), ffn},
                              Product{&w.up, s.up.data(), ffn}};
    multiply_by(products, s.normed.data());
    for_tokens(pool, tokens,
               [&](int t) { swiglu(*s.kernels, &s.gate[at(t, ffn)], &s.up[at(t, ffn)], ffn); });
    add_product(w.down, s.gate.data());
  }

  void write_logits(float* logits, bool all) {
    norm(m.weights.output_norm);
    const float* x = all ? s.normed.data() : &s.normed[at(tokens - 1, config().dim)];
    const Product product{&m.weights.head, logits, config().vocab};
    multiply({&product, 1}, x, all ? tokens : 1, *s.kernels, pool, s.linear, by_row);
  }

  Result<void> run(float* logits, bool all) {
    embed();
    for (int layer = 0; layer < config().layers; ++layer) {
      KVKEEP_TRY(attend(layer));
      feed_forward(m.weights.layers[static_cast<size_t>(layer)]);
    }
    if (logits != nullptr) write_logits(logits, all);
    return {};
  }
};

Result<void> Transformer::check(std::span<const int32_t> tokens,
                                std::span<const int> positions) const {
  for (const int position : positions)
    if (position < 0 || position > kMaxPosition)
      return bad_input("position {}, allowed are 0 to {}", position, kMaxPosition);
  for (const int32_t token : tokens)
    if (token < 0 || token >= config().vocab)
      return bad_input("token {}, allowed are 0 to {}", token, config().vocab - 1);
  return {};
}

Result<void> Transformer::forward(std::span<const int32_t> tokens, int first_position,
                                  AttentionSite& site, ThreadPool& pool, Scratch& scratch,
                                  float* logits, bool all_logits) const {
  if (tokens.empty() || tokens.size() > static_cast<size_t>(kSliceTokens))
    return bad_input("{} tokens in one slice, allowed are 1 to {}", tokens.size(), kSliceTokens);
  KVKEEP_TRY(check(tokens, {&first_position, 1}));
  const int n = static_cast<int>(tokens.size());
  std::array<int, kSliceTokens> positions;
  std::iota(positions.begin(), positions.begin() + n, first_position);
  Pass pass{*impl_, scratch, pool, site, n, tokens.data(), positions.data(), false};
  return pass.run(logits, all_logits);
}

Result<void> Transformer::forward_each(std::span<const int32_t> tokens,
                                       std::span<const int> positions, AttentionSite& site,
                                       ThreadPool& pool, Scratch& scratch, float* logits) const {
  KVKEEP_CHECK(tokens.size() == positions.size(), "{} tokens at {} positions", tokens.size(),
               positions.size());
  if (tokens.empty() || tokens.size() > static_cast<size_t>(kSliceTokens))
    return bad_input("{} tokens in one step, allowed are 1 to {}", tokens.size(), kSliceTokens);
  KVKEEP_TRY(check(tokens, positions));
  Pass pass{*impl_,        scratch,          pool, site, static_cast<int>(tokens.size()),
            tokens.data(), positions.data(), true};
  return pass.run(logits, true);
}

}  // namespace kvkeep
