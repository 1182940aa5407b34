#include <algorithm>
#include <cmath>

#include "kernels/isa.h"
#include "model/dense_attention.h"
#include "model/golden.h"

namespace kvkeep {
namespace {

struct Golden {
  const char* name;
  std::string model_path;
};

std::vector<Golden> goldens() {
  std::vector<Golden> all;
  for (const char* name : {"llama-gqa", "llama-llama3", "llama-linear", "qwen2", "qwen3"})
    all.push_back({name, golden_path(std::string(name) + ".gguf")});
  all.push_back({"kvkeep-5m", embedded_model_path()});
  return all;
}

// All tokens' logits, fed in pieces of at most `slice` tokens.
std::vector<float> run(const Transformer& model, const std::vector<int32_t>& tokens, size_t slice,
                       int threads, const KernelTable& kernels) {
  const auto vocab = static_cast<size_t>(model.config().vocab);
  std::vector<float> logits(tokens.size() * vocab);
  DenseAttention site(model.config().attention_shape());
  ThreadPool pool(threads);
  const auto scratch = model.make_scratch(&kernels);
  for (size_t at = 0; at < tokens.size(); at += slice) {
    const size_t count = std::min(slice, tokens.size() - at);
    const auto result = model.forward(std::span(tokens).subspan(at, count), static_cast<int>(at),
                                      site, pool, *scratch, &logits[at * vocab], true);
    EXPECT_TRUE(result) << result.error().message;
  }
  return logits;
}

float largest_difference(const GoldenLogits& golden, const std::vector<float>& logits) {
  const auto vocab = static_cast<size_t>(golden.vocab);
  float largest = 0;
  for (size_t i = 0; i < golden.positions.size(); ++i)
    for (size_t j = 0; j < vocab; ++j) {
      const size_t at = static_cast<size_t>(golden.positions[i]) * vocab + j;
      const float difference = std::abs(golden.logits[i * vocab + j] - logits[at]);
      if (!(difference <= largest)) largest = difference;  // NaN too
    }
  return largest;
}

class GoldenLogitsTest : public testing::TestWithParam<Golden> {};

TEST_P(GoldenLogitsTest, AgreesWithTransformersOnEveryIsaThreadCountAndSlice) {
  const auto model = Transformer::load(GetParam().model_path);
  ASSERT_TRUE(model) << model.error().message;
  const auto golden = read_golden_logits(golden_path(std::string(GetParam().name) + ".logits"));
  ASSERT_EQ((*model)->config().vocab, golden.vocab);
  for (const KernelTable* kernels : runnable_kernels())
    for (size_t slice : {golden.tokens.size(), size_t{1}}) {
      const auto one = run(**model, golden.tokens, slice, 1, *kernels);
      const auto two = run(**model, golden.tokens, slice, 2, *kernels);
      EXPECT_EQ(one, two) << kernels->name << ", slices of " << slice;
      const float difference = largest_difference(golden, one);
      EXPECT_LE(difference, 1e-3f) << kernels->name << ", slices of " << slice;
      RecordProperty(std::string(kernels->name) + "_" + std::to_string(slice),
                     std::to_string(difference));
    }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenLogitsTest, testing::ValuesIn(goldens()),
                         [](const auto& golden) {
                           std::string name = golden.param.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace kvkeep
