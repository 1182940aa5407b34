// llama.cpp on the embedded model, where ./dev bench --setup-rivals has built it: a rival that does
// not compute the same would not be worth measuring.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "eval/bench/process.h"
#include "eval/eval_fixture.h"
#include "kvkeep/session.h"

namespace kvkeep::bench {
namespace {

constexpr int kCount = 24;

struct Greedy {
  std::vector<float> logits;  // after the prompt
  std::vector<int32_t> tokens;
};

Greedy ours(const Model& model, const std::vector<int32_t>& prompt) {
  auto session = Session::create(model, Plan::parse("f16").value(), {1, 0}).value();
  EXPECT_TRUE(session.prefill(prompt));
  Greedy result{{session.logits().begin(), session.logits().end()}, {}};
  for (int i = 0; i < kCount; ++i) {
    result.tokens.push_back(session.sample());
    EXPECT_TRUE(session.step(result.tokens.back()));
  }
  return result;
}

class RivalParity : public testing::TestWithParam<const char*> {};

TEST_P(RivalParity, PredictsWhatWePredict) {
  const std::string root = KVKEEP_SOURCE_DIR, python = root + "/build/rivals/bin/python";
  if (!std::filesystem::exists(python)) GTEST_SKIP() << "./dev bench --setup-rivals builds it";
  const Model& model = embedded_model();
  const auto prompt = model.encode("The old man lived by the sea. Every morning he", true);
  const Greedy expected = ours(model, prompt);
  auto rival =
      Rival::start("'" + python + "' '" + root + "/bench/baselines/" + GetParam() + "'").value();
  const auto hello = rival.ask({{"do", "hello"}});
  if (!hello) GTEST_SKIP() << hello.error().message;
  for (const std::string mode : {"f16 fa", "f16", "q8_0 fa"}) {
    SCOPED_TRACE(mode);
    const auto answer = rival.ask({{"do", "greedy"},
                                   {"model", model.info().path},
                                   {"mode", mode},
                                   {"threads", 1},
                                   {"prompt", prompt},
                                   {"count", kCount}});
    ASSERT_TRUE(answer) << answer.error().message;
    const auto logits = (*answer)["logits"].get<std::vector<float>>();
    ASSERT_EQ(logits.size(), expected.logits.size());
    double error = 0, size = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
      error += std::pow(logits[i] - expected.logits[i], 2);
      size += std::pow(expected.logits[i], 2);
    }
    EXPECT_LT(std::sqrt(error / size), mode == "q8_0 fa" ? 0.02 : 0.003);
    EXPECT_EQ((*answer)["tokens"].get<std::vector<int32_t>>(), expected.tokens);
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, RivalParity,
                         testing::Values("rival_llama_cpp.py", "rival_ik_llama_cpp.py"));

}  // namespace
}  // namespace kvkeep::bench
