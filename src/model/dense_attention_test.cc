#include "model/dense_attention.h"

#include <gtest/gtest.h>

#include <cmath>

namespace kvkeep {
namespace {

constexpr AttentionShape kShape{2, 2, 1, 8};

TEST(DenseAttention, WeighsValuesByTheSoftmaxOfScaledScores) {
  DenseAttention site(kShape);
  // Scores of query head 0: 0 and log 3 after scaling, so weights 1/4 and 3/4; head 1 sees equals.
  std::vector<float> q(2 * 2 * 8), k(2 * 8), v(2 * 8), out(2 * 2 * 8, -1.0f);
  q[16] = std::sqrt(8.0f);
  k[8] = std::log(3.0f);
  v[0] = 4.0f, v[8] = 8.0f;
  ASSERT_TRUE(site.attend({1, 2, 0, q.data(), k.data(), v.data(), out.data()}));
  EXPECT_EQ(out[0], 4.0f);            // token 0 sees itself alone
  EXPECT_NEAR(out[16], 7.0f, 1e-6f);  // 4/4 + 8*3/4
  EXPECT_NEAR(out[24], 6.0f, 1e-6f);  // equal weights
  EXPECT_EQ(out[17], 0.0f);
}

TEST(DenseAttention, SlicesOfAnyLengthGiveTheSame) {
  constexpr int kTokens = 13;
  std::vector<float> q(kTokens * 16), k(kTokens * 8), v(kTokens * 8), whole(kTokens * 16);
  for (size_t i = 0; i < q.size(); ++i) q[i] = std::sin(static_cast<float>(i));
  for (size_t i = 0; i < k.size(); ++i) k[i] = std::cos(static_cast<float>(3 * i));
  for (size_t i = 0; i < v.size(); ++i) v[i] = std::sin(static_cast<float>(5 * i));
  DenseAttention all(kShape), pieces(kShape);
  ASSERT_TRUE(all.attend({0, kTokens, 0, q.data(), k.data(), v.data(), whole.data()}));
  std::vector<float> out(whole.size());
  for (int first = 0; first < kTokens; first += 5) {
    const int count = std::min(5, kTokens - first);
    ASSERT_TRUE(pieces.attend(
        {0, count, first, &q[static_cast<size_t>(first) * 16], &k[static_cast<size_t>(first) * 8],
         &v[static_cast<size_t>(first) * 8], &out[static_cast<size_t>(first) * 16]}));
  }
  EXPECT_EQ(out, whole);
}

TEST(DenseAttention, NamesThePlaceOfValuesThatAreNotFinite) {
  DenseAttention site({1, 2, 2, 8});
  std::vector<float> q(3 * 16), k(3 * 16), v(3 * 16), out(3 * 16);
  v[1 * 16 + 8 + 3] = NAN;
  const auto result = site.attend({0, 3, 40, q.data(), k.data(), v.data(), out.data()});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::failed);
  EXPECT_EQ(result.error().message, "v is nan at layer 0, kv_head 1, position 41");
}

}  // namespace
}  // namespace kvkeep
