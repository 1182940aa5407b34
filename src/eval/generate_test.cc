#include "eval/generate.h"

#include "eval/eval_fixture.h"

namespace kvkeep {
namespace {

TEST(Generate, ComparesTokenByToken) {
  using Figures = std::vector<double>;
  EXPECT_EQ(compare_continuations({1, 2, 3, 4}, {1, 2, 3, 4}), (Figures{1, 4, 1}));
  EXPECT_EQ(compare_continuations({1, 9, 3, 9}, {1, 2, 3, 4}), (Figures{0.5, 1, 0}));
  EXPECT_EQ(compare_continuations({9, 9}, {1, 2}), (Figures{0, 0, 0}));
}

TEST(Generate, TheExactCacheSaysTheSame) {
  const auto plans = plans_of({"f16", "streaming:keep=0.1"});
  const auto result = run_task("generate", eval_input(plans, 128, 2));
  ASSERT_EQ(result.rows.size(), 2u);
  EXPECT_EQ(metric(result.rows[0], "agreement"), 1);
  EXPECT_EQ(metric(result.rows[0], "first_divergence"), 64);
  EXPECT_EQ(metric(result.rows[0], "identical"), 1);
  EXPECT_EQ(metric(result.rows[0], "n"), 2);
  EXPECT_LT(metric(result.rows[1], "first_divergence"), 64);
  EXPECT_EQ(result.rows[1].cache.tokens, 127);
}

}  // namespace
}  // namespace kvkeep
