#include "model/weights.h"

#include <cmath>
#include <cstring>

#include "base/half.h"
#include "model/golden.h"

namespace kvkeep {
namespace {

using std::string_view_literals::operator""sv;

struct Refusal {
  const char* what;
  EditedModel model;
  std::string expected;
};

TEST(Config, RefusesWhatItCannotRunInOneLineThatNamesWhatIsAllowed) {
  const auto llama = [] { return EditedModel("llama-gqa.gguf"); };
  const std::vector<Refusal> refusals = {
      {"architecture", llama().replace("llama", "gemma"),
       "'edited.gguf': general.architecture is 'gemma', allowed are llama, qwen2, qwen3"},
      {"no layers", llama().set("llama.block_count", 0),
       "'edited.gguf': llama.block_count is 0, allowed are 1 to 1024"},
      {"absurd dim", llama().set("llama.embedding_length", 0xfffffff0u),
       "'edited.gguf': llama.embedding_length is 4294967280, allowed are 8 to 65536"},
      {"head_dim",
       llama().set("llama.attention.key_length", 20).set("llama.attention.value_length", 20),
       "'edited.gguf': head_dim is 20, allowed are multiples of 8 from 8 to 512"},
      {"value_length", llama().set("llama.attention.value_length", 8),
       "'edited.gguf': attention.value_length is 8, expected attention.key_length, 16"},
      {"heads", llama().set("llama.attention.head_count_kv", 3),
       "'edited.gguf': attention.head_count 4 is not a multiple of attention.head_count_kv 3"},
      {"scaling",
       EditedModel("llama-linear.gguf")
           .replace("\6\0\0\0\0\0\0\0linear"sv, "\6\0\0\0\0\0\0\0yarn!!"sv),
       "'edited.gguf': llama.rope.scaling.type is 'yarn!!', allowed are none, linear, and llama3 "
       "as "
       "tensor rope_freqs.weight"},
      {"rms eps", llama().set("llama.attention.layer_norm_rms_epsilon", 0x7fc00000u),
       "'edited.gguf': llama.attention.layer_norm_rms_epsilon is missing or no number, expected a "
       "number from 1e-12 to 0.1"},
  };
  for (const Refusal& refusal : refusals)
    EXPECT_EQ(refusal.model.error(), refusal.expected) << refusal.what;
}

TEST(Config, ReadsLlama3DivisorsLinearFactorsAndBiases) {
  const auto config = [](const char* file) {
    return read_config(*Gguf::open(golden_path(file))).value();
  };
  const ModelConfig llama3 = config("llama-llama3.gguf");
  ASSERT_EQ(llama3.rope.factors.size(), 16u);
  EXPECT_EQ(llama3.rope.factors.front(), 1.0f);
  EXPECT_EQ(llama3.rope.factors.back(), 8.0f);
  EXPECT_EQ(config("llama-linear.gguf").rope.linear_factor, 4.0f);
  EXPECT_FALSE(config("llama-gqa.gguf").tied_embeddings);
  EXPECT_TRUE(config("qwen2.gguf").qkv_bias);
  EXPECT_FALSE(config("qwen2.gguf").rope.interleaved);
  EXPECT_TRUE(config("qwen3.gguf").qk_norm);
}

TEST(Weights, NameTheTensorThatIsMissingMisshapenOrUnknown) {
  EXPECT_EQ(EditedModel("llama-gqa.gguf").replace("blk.1.ffn_up", "blk.1.ffn_xx").error(),
            "'edited.gguf': tensor blk.1.ffn_up.weight is missing, expected with shape [64, 96]");
  EXPECT_EQ(EditedModel("llama-gqa.gguf").set("llama.attention.head_count_kv", 4).error(),
            "'edited.gguf': tensor blk.0.attn_k.weight has shape [64, 32], expected [64, 64]");
  EXPECT_EQ(EditedModel("llama-gqa.gguf").set("llama.block_count", 1).error(),
            "'edited.gguf': tensor blk.1.attn_q.weight is not known for architecture llama");
  EXPECT_EQ(EditedModel("llama-llama3.gguf").set("llama.attention.key_length", 24).error(),
            "'edited.gguf': attention.value_length is 32, expected attention.key_length, 24");
}

TEST(Weights, StayInPlaceOrTakeTwoBytesEach) {
  const auto weights = [](const Gguf& file) {
    return load_weights(file, read_config(file).value()).value();
  };
  const EditedModel stored("qwen3.gguf"), widened("llama-linear.gguf");
  const Gguf bf16_file = stored.open().value(), f32_file = widened.open().value();
  const Weights in_place = weights(bf16_file), converted = weights(f32_file);
  EXPECT_TRUE(in_place.converted.empty());
  EXPECT_EQ(in_place.embedding.type, TensorType::bf16);
  EXPECT_EQ(converted.embedding.type, TensorType::f16);
  EXPECT_EQ(converted.converted.size(), 8u);
  EXPECT_LT(converted.bytes, static_cast<size_t>(converted.parameters) * 2 + 1024);
}

TEST(Weights, ValuesBeyondF16AreKeptAsBf16) {
  EditedModel model("llama-linear.gguf");
  const Gguf original = model.open().value();
  const Tensor* tensor = original.find("blk.0.ffn_up.weight");
  ASSERT_NE(tensor, nullptr);
  const float large = 1e6f;
  const auto* base = reinterpret_cast<const std::byte*>(model.bytes().data());
  std::memcpy(model.bytes().data() + (tensor->data.data() - base) + 4, &large, sizeof large);
  const Gguf file = model.open().value();
  const Weights weights = load_weights(file, read_config(file).value()).value();
  const Matrix& up = weights.layers[0].up;
  ASSERT_EQ(up.type, TensorType::bf16);
  EXPECT_NEAR(bf16_to_f32(reinterpret_cast<const uint16_t*>(up.data)[1]), 1e6f, 4e3f);
}

TEST(Fingerprint, ChangesWithEveryWeightAndNumberButNotWithTheName) {
  const auto print = [](const EditedModel& model) {
    const Gguf file = model.open().value();
    return fingerprint(file, read_config(file).value());
  };
  const uint64_t original = print(EditedModel("qwen2.gguf"));
  EXPECT_EQ(print(EditedModel("qwen2.gguf")), original);
  EXPECT_NE(print(EditedModel("qwen2.gguf").set("qwen2.context_length", 511)), original);
  EditedModel flipped("qwen2.gguf");
  flipped.bytes()[flipped.bytes().size() - 40] ^= 1;
  EXPECT_NE(print(flipped), original);
  EXPECT_NE(print(EditedModel("qwen3.gguf")), original);
}

}  // namespace
}  // namespace kvkeep
