#include "model/transformer.h"

#include <cmath>
#include <numeric>

#include "base/fail.h"
#include "base/rng.h"
#include "model/dense_attention.h"
#include "model/golden.h"

namespace kvkeep {
namespace {

// Attends to nothing and keeps nothing: what the model itself needs is what is measured.
class NoAttention : public AttentionSite {
 public:
  explicit NoAttention(int fail_at_layer = -1) : fail_at_layer_(fail_at_layer) {}
  Result<void> attend(const AttentionCall& call) override {
    if (call.layer == fail_at_layer_) return failed("layer {} refused", call.layer);
    last_position = call.first_position + call.tokens - 1;
    return {};
  }
  int last_position = -1;

 private:
  int fail_at_layer_;
};

std::shared_ptr<const Transformer> load(const std::string& file) {
  auto model = Transformer::load(golden_path(file));
  if (!model) ADD_FAILURE() << model.error().message;
  return model.value();
}

TEST(Transformer, ReadsTheEmbeddedModel) {
  const auto model = Transformer::load(embedded_model_path());
  ASSERT_TRUE(model) << model.error().message;
  const ModelConfig& c = (*model)->config();
  EXPECT_EQ(c.architecture, "llama");
  EXPECT_EQ(c.layers, 6);
  EXPECT_EQ(c.attention_shape().gqa_ratio(), 2);
  EXPECT_EQ(c.head_dim, 64);
  EXPECT_EQ(c.vocab, 2048);
  EXPECT_TRUE(c.tied_embeddings && c.rope.interleaved && !c.qkv_bias && !c.qk_norm);
  EXPECT_EQ((*model)->parameters(), 4951296);
  EXPECT_LT((*model)->weight_bytes(), 10'000'000u);
  EXPECT_EQ((*model)->tokenizer().vocab_size(), 2048);
}

TEST(Transformer, LastLogitsAreTheLastRowOfAllLogits) {
  const auto model = load("llama-gqa.gguf");
  const std::vector<int32_t> tokens{5, 6, 7, 8, 9, 10, 11};
  const auto vocab = static_cast<size_t>(model->config().vocab);
  std::vector<float> all(tokens.size() * vocab), last(vocab);
  ThreadPool pool(1);
  const auto scratch = model->make_scratch();
  DenseAttention a(model->config().attention_shape()), b(model->config().attention_shape());
  ASSERT_TRUE(model->forward(tokens, 0, a, pool, *scratch, all.data(), true));
  ASSERT_TRUE(model->forward(tokens, 0, b, pool, *scratch, last.data(), false));
  for (size_t i = 0; i < vocab; ++i) EXPECT_NEAR(last[i], all[6 * vocab + i], 1e-4f);
}

TEST(Transformer, RefusesBadTokensSlicesAndPositions) {
  const auto model = load("qwen3.gguf");
  ThreadPool pool(1);
  const auto scratch = model->make_scratch();
  NoAttention site;
  const auto error = [&](const std::vector<int32_t>& tokens, int position) {
    const auto result = model->forward(tokens, position, site, pool, *scratch, nullptr, false);
    EXPECT_EQ(result.error().code, ErrorCode::bad_input);
    return result.error().message;
  };
  EXPECT_EQ(error({1, 272}, 0), "token 272, allowed are 0 to 271");
  EXPECT_EQ(error({-1}, 0), "token -1, allowed are 0 to 271");
  EXPECT_EQ(error({}, 0), "0 tokens in one slice, allowed are 1 to 256");
  EXPECT_EQ(error(std::vector<int32_t>(257), 0), "257 tokens in one slice, allowed are 1 to 256");
  EXPECT_NE(error({1}, -1).find("position -1"), std::string::npos);
  EXPECT_EQ(site.last_position, -1) << "nothing may reach the cache";
}

TEST(Transformer, PassesOnTheErrorOfTheSite) {
  const auto model = load("qwen2.gguf");
  ThreadPool pool(2);
  const auto scratch = model->make_scratch();
  NoAttention site(1);
  const auto result =
      model->forward(std::vector<int32_t>{1, 2, 3}, 0, site, pool, *scratch, nullptr, false);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "layer 1 refused");
}

TEST(Transformer, DamagedHeadersAreRefusedInOneLineOrRun) {
  Rng rng(3);
  ThreadPool pool(1);
  int refused = 0;
  for (int round = 0; round < 600; ++round) {
    EditedModel model(round % 2 != 0 ? "llama-llama3.gguf" : "qwen2.gguf");
    const Gguf intact = model.open().value();
    const auto header =
        static_cast<size_t>(intact.tensors().front().data.data() -
                            reinterpret_cast<const std::byte*>(model.bytes().data()));
    model.bytes()[rng.below(header)] ^= static_cast<char>(1u << rng.below(8));
    Result<Gguf> file = model.open();
    if (!file) continue;
    const auto made = Transformer::make(std::make_shared<const Gguf>(std::move(*file)));
    if (!made) {
      ++refused;
      EXPECT_EQ(made.error().message.find('\n'), std::string::npos);
      continue;
    }
    NoAttention site;
    const auto scratch = (*made)->make_scratch();
    std::vector<float> logits(static_cast<size_t>((*made)->config().vocab));
    const std::vector<int32_t> tokens{0, 1, 2};
    EXPECT_TRUE((*made)->forward(tokens, 0, site, pool, *scratch, logits.data(), false));
  }
  EXPECT_GT(refused, 20);
}

TEST(Transformer, MemoryDoesNotGrowWithTheContext) {
  const auto model = load("llama-llama3.gguf");
  constexpr int kContext = 8192;
  ThreadPool pool(2);
  const auto scratch = model->make_scratch();
  NoAttention site;
  std::vector<int32_t> tokens(Transformer::kSliceTokens);
  std::iota(tokens.begin(), tokens.end(), 0);
  std::vector<float> logits(static_cast<size_t>(model->config().vocab));
  size_t bytes = 0;
  for (int at = 0; at < kContext; at += Transformer::kSliceTokens) {
    ASSERT_TRUE(model->forward(tokens, at, site, pool, *scratch, logits.data(), false));
    if (at == 0) bytes = Transformer::scratch_bytes(*scratch);
  }
  EXPECT_EQ(site.last_position, kContext - 1);
  EXPECT_EQ(Transformer::scratch_bytes(*scratch), bytes);
  EXPECT_LT(bytes, size_t{2} << 20);
}

}  // namespace
}  // namespace kvkeep
