#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/test_parts.h"

namespace kvkeep {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Scores and weights of every size f16 knows, of both signs.
std::vector<float> of_all_sizes(Rng& rng, size_t n) {
  std::vector<float> x(n);
  for (float& value : x)
    value = rng.normal() * std::exp2(static_cast<float>(rng.below(50)) - 34.0f);
  return x;
}

std::vector<F16> expected_scores(const MassRows& given, int n, float fade, uint32_t noise,
                                 std::vector<F16> scores) {
  for (int t = 0; t < n; ++t) {
    float mass = 0.0f;
    for (int h = 0; h < given.heads; ++h) {
      const float part = given.factors[h] * given.weights[h * kBlockTokens + t];
      mass = mass + part;
    }
    F16& score = scores[static_cast<size_t>(t)];
    const float faded = fade * f16_to_f32(score);
    score = f32_to_f16_at_random(faded + mass, noise + static_cast<uint32_t>(t) * kNoiseStep);
  }
  return scores;
}

TEST(Masses, EveryIsaRoundsAsTheDefinitionDoes) {
  Rng rng(8);
  for (int n = 1; n <= kBlockTokens; ++n)
    for (int heads : {1, 2, 4, 7, 16, 21}) {
      const auto weights = of_all_sizes(rng, static_cast<size_t>(heads * kBlockTokens));
      const auto factors = random_floats(rng, static_cast<size_t>(heads));
      std::vector<F16> before;
      for (float x : of_all_sizes(rng, kBlockTokens)) before.push_back(f32_to_f16(x));
      for (F16& score : before) score = std::min(score, F16{0xfbff});  // finite
      const MassRows given{weights.data(), factors.data(), heads};
      const auto noise = static_cast<uint32_t>(rng.next());
      const float fade = n % 3 == 0 ? 1.0f : rng.uniform();
      const auto expected = expected_scores(given, n, fade, noise, before);
      for (const KernelTable* table : runnable_kernels()) {
        auto scores = before;
        table->add_masses(given, n, fade, noise, scores.data(), scores.data());
        EXPECT_EQ(scores, expected) << table->name << " n=" << n << " heads=" << heads;
      }
    }
}

TEST(Masses, ScoresStayFinite) {
  const float weights[kBlockTokens] = {1e30f, -1e30f, kInfinity, -kInfinity, NAN, 7e4f, 1e-45f};
  const float one = 1.0f;
  for (const KernelTable* table : runnable_kernels()) {
    std::vector<F16> scores(kBlockTokens);
    table->add_masses({weights, &one, 1}, kBlockTokens, 1.0f, ~0u, scores.data(), scores.data());
    EXPECT_EQ(f16_to_f32(scores[0]), 65504.0f) << table->name;
    EXPECT_EQ(f16_to_f32(scores[1]), -65504.0f) << table->name;
    EXPECT_EQ(f16_to_f32(scores[2]), 65504.0f) << table->name;
    EXPECT_EQ(f16_to_f32(scores[3]), -65504.0f) << table->name;
    EXPECT_EQ(std::fabs(f16_to_f32(scores[4])), 65504.0f) << table->name;
    EXPECT_EQ(f16_to_f32(scores[5]), 65504.0f) << table->name;
    EXPECT_EQ(f16_to_f32(scores[6]), 0.0f) << table->name;
  }
}

}  // namespace
}  // namespace kvkeep
