// The contract every transform keeps: inverse undoes forward, and the query side agrees with it.
#include "codec/transform/transform.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "codec/rtn.h"
#include "codec/transform/waves.h"

namespace kvkeep {
namespace {

struct Case {
  const char* plan;
  int head_dim, rope_dim;
  bool interleaved;
};

class TransformContract : public ::testing::TestWithParam<Case> {};

TEST_P(TransformContract, RowsQueriesAndOutputsAgree) {
  const Case& c = GetParam();
  TransformContext context{2, 2, c.head_dim, 512, {}};
  context.rope.dim = c.rope_dim;
  context.rope.interleaved = c.interleaved;
  const auto plan = Plan::parse(std::string("mikv:transform=") + c.plan);
  ASSERT_TRUE(plan);
  const auto transform = make_transform(plan->slot("transform"), context);
  ASSERT_NE(transform, nullptr);
  Rng rng(3);
  const HeadIndex head{1, 1};
  const auto d = static_cast<size_t>(c.head_dim);
  std::vector<float> keys(100 * d);
  std::vector<int32_t> positions;
  for (int t = 0; t < 100; ++t) positions.push_back(5 * t);
  for (float& x : keys) x = rng.normal() + 1.0f;
  std::vector<float> queries_seen(d);
  for (size_t i = 0; i < d; ++i) queries_seen[i] = 0.1f + static_cast<float>(i);
  transform->fit(head, {keys, positions, queries_seen});
  for (int t = 0; t < 100; t += 7) {
    std::vector<float> key(keys.begin() + static_cast<ptrdiff_t>(t * d),
                           keys.begin() + static_cast<ptrdiff_t>((t + 1) * d));
    std::vector<float> q(d), value(d);
    for (size_t i = 0; i < d; ++i) {
      q[i] = rng.normal();
      value[i] = rng.normal();
    }
    double exact = 0;
    for (size_t i = 0; i < d; ++i) exact += static_cast<double>(q[i]) * key[i];
    const std::vector<float> original = key, original_value = value;
    transform->forward_key(head, key.data(), positions[static_cast<size_t>(t)]);
    float logit = 0;
    transform->bias(head, q.data(), {&positions[static_cast<size_t>(t)], 1}, &logit);
    transform->query(head, q.data(), 1, c.head_dim);
    double coded = logit;
    for (size_t i = 0; i < d; ++i) coded += static_cast<double>(q[i]) * key[i];
    EXPECT_NEAR(coded, exact, 2e-4 * (1.0 + std::fabs(exact)));
    transform->inverse_key(head, key.data(), positions[static_cast<size_t>(t)]);
    transform->forward_value(value.data());
    transform->inverse_value(value.data(), 1, c.head_dim);
    for (size_t i = 0; i < d; ++i) {
      EXPECT_NEAR(key[i], original[i], 1e-4);
      EXPECT_NEAR(value[i], original_value[i], 1e-5);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, TransformContract,
    ::testing::Values(Case{"hadamard", 64, 64, true}, Case{"hadamard:signs=3", 80, 80, true},
                      Case{"hadamard:v=16", 80, 80, false}, Case{"hadamard", 24, 24, true},
                      Case{"centre", 64, 64, true}, Case{"centre", 128, 128, false},
                      Case{"centre", 80, 32, false}, Case{"balance", 64, 64, true},
                      Case{"balance:by=rms", 80, 80, false}),
    [](const auto& test) {
      std::string name = test.param.plan + std::to_string(test.param.head_dim);
      for (char& c : name)
        if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
      return name;
    });

// Keys with a large constant part before RoPE: centring removes it.
TEST(Centre, RemovesTheMeanPreRopeKey) {
  TransformContext context{1, 1, 64, 512, {}};
  context.rope.dim = 64;
  const auto plan = Plan::parse("mikv:transform=centre");
  const auto transform = make_transform(plan->slot("transform"), context);
  const Rope rope(context.rope);
  Rng rng(9);
  std::vector<float> keys(200 * 64);
  std::vector<int32_t> positions;
  for (int t = 0; t < 200; ++t) {
    positions.push_back(t);
    float* key = keys.data() + t * 64;
    for (int c = 0; c < 64; ++c) key[c] = 3.0f * std::cos(static_cast<float>(c)) + rng.normal();
    rope.apply(key, t);
  }
  transform->fit({}, {keys, positions, {}});
  double before = 0, after = 0;
  for (int t = 0; t < 200; ++t) {
    float* key = keys.data() + t * 64;
    for (int c = 0; c < 64; ++c) before += key[c] * key[c];
    transform->forward_key({}, key, t);
    for (int c = 0; c < 64; ++c) after += key[c] * key[c];
  }
  EXPECT_NEAR(before / (200 * 64), 1.0 + 4.5, 0.4);
  EXPECT_NEAR(after / (200 * 64), 1.0, 0.05);
  // One f16 vector; the waves of 64 fine and 512 / 64 coarse positions are the model's.
  EXPECT_EQ(transform->state_bytes(), 128u);
  EXPECT_EQ(transform->shared_bytes(), (64u + 8u) * 64u * 4u);
}

TEST(Waves, AreSharedByAllThatAskForTheSame) {
  RopeConfig rope;
  rope.dim = 8;
  const auto first = Waves::of(rope, 100), second = Waves::of(rope, 100);
  EXPECT_EQ(first, second);
  EXPECT_NE(first, Waves::of(rope, 101));
  RopeConfig other = rope;
  other.base = 500.0f;
  EXPECT_NE(first, Waves::of(other, 100));
  const std::weak_ptr<const Waves> mine = Waves::of(rope, 7);
  EXPECT_TRUE(mine.expired()) << "held by nobody";
  const Rope turn(rope);
  float cosine[4], sine[4], c[4], s[4];
  for (const int position : {0, 1, 63, 64, 99}) {
    first->angles(position, cosine, sine);
    turn.angles(position, c, s);
    for (int i = 0; i < 4; ++i) {
      EXPECT_NEAR(cosine[i], c[i], 1e-6f) << position;
      EXPECT_NEAR(sine[i], s[i], 1e-6f) << position;
    }
  }
}

// Two sequences, and a third that is gone: their centres hold one table.
TEST(Centre, SequencesShareTheWaves) {
  TransformContext context{1, 1, 64, 512, {}};
  context.rope.dim = 64;
  const auto plan = Plan::parse("rtn2:transform=centre");
  const auto waves = Waves::of(context.rope, 512);
  const long before = waves.use_count();
  const auto one = make_transform(plan->slot("transform"), context);
  const auto two = make_transform(plan->slot("transform"), context);
  const auto fork = one->clone();
  EXPECT_EQ(waves.use_count(), before + 3);
}

// A channel with keys x32 and queries /32: balanced, both sides have the same largest value.
TEST(Balance, EvensOutOutlierChannels) {
  TransformContext context{1, 1, 8, 64, {}};
  context.rope.dim = 8;
  const auto transform =
      make_transform(Plan::parse("mikv:transform=balance")->slot("transform"), context);
  std::vector<float> keys(8, 1.0f), queries_seen(8, 1.0f);
  keys[3] = -32.0f;
  queries_seen[3] = 1.0f / 32.0f;
  queries_seen[5] = 0.0f;
  const std::vector<int32_t> positions = {0};
  transform->fit({}, {keys, positions, queries_seen});
  std::vector<float> key = keys, q = queries_seen;
  transform->forward_key({}, key.data(), 0);
  transform->query({}, q.data(), 1, 8);
  for (size_t c = 0; c < 8; ++c) EXPECT_NEAR(std::fabs(key[c]), 1.0f, 1e-3f) << c;
  EXPECT_NEAR(q[3], 1.0f, 1e-3f);
  EXPECT_EQ(q[5], 0.0f);
}

// rms of keys 1, 4 and of queries 1, 1/4 on channels 0 and 1: sqrt(rms q / rms k) is 1 and 1/4; on
// the other six 1. Their geometric mean, 4^(-1/8), is divided out.
TEST(Balance, ByRmsMakesFactorsOfRootMeanSquares) {
  TransformContext context{1, 1, 8, 64, {}};
  context.rope.dim = 8;
  const auto transform =
      make_transform(Plan::parse("mikv:transform=balance:by=rms")->slot("transform"), context);
  std::vector<float> keys(2 * 8, 1.0f), squares(8, 3.0f);  // of three queries
  keys[1] = 0.0f, keys[8 + 1] = std::sqrt(32.0f);          // the mean of squares is 16
  squares[1] = 3.0f / 16.0f;
  const std::vector<int32_t> positions = {0, 1};
  transform->fit({}, {keys, positions, squares});
  std::vector<float> key(8, 1.0f), query(8, 1.0f);
  transform->forward_key({}, key.data(), 0);
  transform->query({}, query.data(), 1, 8);
  const float middle = std::pow(4.0f, -1.0f / 8.0f);
  for (size_t c = 0; c < 8; ++c) {
    EXPECT_NEAR(key[c], (c == 1 ? 0.25f : 1.0f) / middle, 1e-3f) << c;
    EXPECT_NEAR(key[c] * query[c], 1.0f, 1e-5f) << c;
  }
}

// Root mean square error of q . k for keys at 2 bits; transform may be null.
double two_bit_logit_error(const Transform* transform, const std::vector<float>& keys,
                           const std::vector<float>& queries, int d) {
  const PartShape shape = part_shape({LayoutId::u2, kGroupHalf}, d);
  double error = 0;
  size_t n = 0;
  for (size_t t = 0; t < keys.size(); t += static_cast<size_t>(d)) {
    std::vector<float> key(keys.begin() + static_cast<ptrdiff_t>(t),
                           keys.begin() + static_cast<ptrdiff_t>(t) + d);
    if (transform) transform->forward_key({}, key.data(), 0);
    RowCodes codes;
    rtn_quantize(shape, key.data(), &codes);
    rtn_dequantize(shape, codes, key.data());
    for (size_t row = 0; row < queries.size(); row += static_cast<size_t>(d), ++n) {
      std::vector<float> q(queries.begin() + static_cast<ptrdiff_t>(row),
                           queries.begin() + static_cast<ptrdiff_t>(row) + d);
      double exact = 0, coded = 0;
      for (size_t c = 0; c < q.size(); ++c) exact += static_cast<double>(q[c]) * keys[t + c];
      if (transform) transform->query({}, q.data(), 1, d);
      for (size_t c = 0; c < q.size(); ++c) coded += static_cast<double>(q[c]) * key[c];
      error += (coded - exact) * (coded - exact);
    }
  }
  return std::sqrt(error / static_cast<double>(n));
}

// Two outlier channels of 128 widen the steps of their whole groups.
TEST(Balance, HalvesTheErrorOfTwoBitLogitsWhereKeysHaveOutliers) {
  constexpr int kDim = 128, kKeys = 200, kQueries = 20;
  TransformContext context{1, 1, kDim, 64, {}};
  context.rope.dim = kDim;
  Rng rng(4);
  std::vector<float> keys(kKeys * kDim), queries(kQueries * kDim), queries_seen(kDim);
  for (size_t i = 0; i < keys.size(); ++i)
    keys[i] = rng.normal() * (i % kDim == 10 || i % kDim == 90 ? 16.0f : 1.0f);
  for (size_t i = 0; i < queries.size(); ++i) {
    queries[i] = rng.normal();
    queries_seen[i % kDim] = std::max(queries_seen[i % kDim], std::fabs(queries[i]));
  }
  const std::vector<int32_t> positions(kKeys);
  const auto balance =
      make_transform(Plan::parse("mikv:transform=balance")->slot("transform"), context);
  balance->fit({}, {keys, positions, queries_seen});
  EXPECT_LT(two_bit_logit_error(balance.get(), keys, queries, kDim),
            0.5 * two_bit_logit_error(nullptr, keys, queries, kDim));
}

// Keys and queries large on different channels, without outliers: q . k counts only where both are
// large, and by=rms moves the levels of rotated keys there.
TEST(Balance, ByRmsHalvesTheErrorWhereKeysAndQueriesDiffer) {
  constexpr int kDim = 64, kKeys = 200, kQueries = 20;
  TransformContext context{1, 1, kDim, 64, {}};
  context.rope.dim = kDim;
  Rng rng(5);
  std::vector<float> keys(kKeys * kDim), queries(kQueries * kDim), squares(kDim);
  for (size_t i = 0; i < keys.size(); ++i)
    keys[i] = rng.normal() * (i % kDim < kDim / 2 ? 4.0f : 0.5f);
  for (size_t i = 0; i < queries.size(); ++i) {
    queries[i] = rng.normal() * (i % kDim < kDim / 2 ? 0.5f : 4.0f);
    squares[i % kDim] += queries[i] * queries[i];
  }
  const std::vector<int32_t> positions(kKeys);
  const auto error = [&](const char* text) {
    const Plan plan = *Plan::parse(std::string("mikv:transform=") + text);
    std::vector<std::unique_ptr<Transform>> chain;
    std::vector<float> k = keys, q = queries;
    for (const Plan::Slot& slot : plan.slots()) {
      if (slot.slot != "transform") continue;
      const auto transform = make_transform(slot, context);
      transform->fit({}, {k, positions, squares});
      for (size_t i = 0; i < kKeys; ++i) transform->forward_key({}, k.data() + i * kDim, 0);
      transform->query({}, q.data(), kQueries, kDim);
    }
    return two_bit_logit_error(nullptr, k, q, kDim);
  };
  EXPECT_LT(error("balance:by=rms+hadamard"), 0.5 * error("hadamard"));
}

}  // namespace
}  // namespace kvkeep
