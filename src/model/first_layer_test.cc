#include "model/first_layer.h"

#include <gtest/gtest.h>

#include "base/fail.h"
#include "model/golden.h"

namespace kvkeep {
namespace {

// Keeps what the model hands over at layer 0, without RoPE, and ends the pass.
class FirstRows : public AttentionSite {
 public:
  explicit FirstRows(const ModelConfig& config) : config_(config), rope_(config.rope) {}
  Result<void> attend(const AttentionCall& call) override {
    const size_t n = static_cast<size_t>(call.tokens) * static_cast<size_t>(config_.kv_dim());
    keys.assign(call.k, call.k + n);
    values.assign(call.v, call.v + n);
    ids.assign(call.ids, call.ids + call.tokens);
    float* key = keys.data();
    for (int t = 0; t < call.tokens; ++t)
      for (int head = 0; head < config_.kv_heads; ++head, key += config_.head_dim)
        rope_.apply(key, call.first_position + t, -1);
    return failed("enough");
  }
  std::vector<float> keys, values;
  std::vector<int32_t> ids;

 private:
  ModelConfig config_;
  Rope rope_;
};

// Biases (qwen2), norms of keys (qwen3) and plain: as the forward pass has them, at any position.
TEST(FirstLayer, IsWhatTheModelHandsOver) {
  for (const char* file : {"llama-gqa.gguf", "qwen2.gguf", "qwen3.gguf"}) {
    SCOPED_TRACE(file);
    const auto model = *Transformer::load(golden_path(file));
    const FirstLayer first(model);
    const std::vector<int32_t> tokens{9, 4, 4, 31, 17, 2, 9};
    FirstRows site(model->config());
    ThreadPool pool(1);
    const auto scratch = model->make_scratch();
    ASSERT_FALSE(model->forward(tokens, 40, site, pool, *scratch, nullptr, false));
    EXPECT_EQ(site.ids, tokens);
    std::vector<float> keys(site.keys.size()), values(keys.size());
    std::vector<float> key, value;
    first.unpack(&key, &value);
    first.read(tokens, key, value, keys.data(), values.data());
    for (size_t i = 0; i < keys.size(); ++i) {
      ASSERT_NEAR(keys[i], site.keys[i], 2e-4f) << i;
      ASSERT_NEAR(values[i], site.values[i], 2e-4f) << i;
    }
    // One token a call gives the same bits.
    const auto width = static_cast<size_t>(model->config().kv_dim());
    std::vector<float> k(width), v(width);
    for (size_t t = 0; t < tokens.size(); ++t) {
      first.read({&tokens[t], 1}, key, value, k.data(), v.data());
      for (size_t c = 0; c < width; ++c) {
        ASSERT_EQ(k[c], keys[t * width + c]);
        ASSERT_EQ(v[c], values[t * width + c]);
      }
    }
  }
}

}  // namespace
}  // namespace kvkeep
