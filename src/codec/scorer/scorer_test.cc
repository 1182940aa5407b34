#include "codec/scorer/scorer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/rng.h"
#include "codec/rtn.h"
#include "kernels/layout.h"

namespace kvkeep {
namespace {

std::unique_ptr<Scorer> scorer(const std::string& text) {
  const auto plan = Plan::parse("scorer=" + text);
  EXPECT_TRUE(plan) << plan.error().message;
  return make_scorer(plan->slot("scorer"));
}

std::vector<int32_t> first(int n) {
  std::vector<int32_t> positions(static_cast<size_t>(n));
  std::iota(positions.begin(), positions.end(), 0);
  return positions;
}

TEST(Scorer, H2oAddsUpWhatEveryRowPaid) {
  const auto s = scorer("h2o");
  EXPECT_EQ(s->fade(1), 1.0f);
  EXPECT_EQ(s->fade(7), 1.0f);
  EXPECT_TRUE(s->observes_row(3, 900));
}

TEST(Scorer, H2oPerRowDividesByTheRowsThatCouldSeeTheToken) {
  std::vector<float> scores = {8.0f, 3.0f, 1.0f};
  const std::vector<int32_t> positions = {0, 4, 7};  // seen by 8, 4 and 1 of 8 rows
  scorer("h2o:norm=rows")->rank({0, 0, 8, positions}, scores);
  EXPECT_EQ(scores, (std::vector<float>{1.0f, 0.75f, 1.0f}));
  scorer("h2o")->rank({0, 0, 8, positions}, scores);
  EXPECT_EQ(scores, (std::vector<float>{1.0f, 0.75f, 1.0f}));
}

TEST(Scorer, SnapKvSeesItsWindowFadesOldVotesAndPools) {
  const auto s = scorer("snapkv:window=4,pool=3");
  EXPECT_TRUE(s->observes_row(97, 100));
  EXPECT_FALSE(s->observes_row(96, 100));
  EXPECT_EQ(s->fade(1), 0.75f);
  EXPECT_EQ(s->fade(4), 0.0f);  // a full window replaces the old votes
  EXPECT_EQ(s->fade(9), 0.0f);
  std::vector<float> votes = {0, 5, 0, 0, 3, 0};
  const std::vector<int32_t> positions = {0, 1, 2, 3, 4, 9};  // 9 has no neighbour
  s->rank({0, 0, 10, positions}, votes);
  EXPECT_EQ(votes, (std::vector<float>{5, 5, 5, 3, 3, 0}));
}

// The newest two rows count, neighbours do not: after one more row half of the old votes are left.
TEST(Scorer, MorphKvSlidesOverTheNewestRowsWithoutPooling) {
  const auto s = scorer("morphkv:window=2");
  EXPECT_TRUE(s->observes_row(99, 100));
  EXPECT_FALSE(s->observes_row(98, 100));
  EXPECT_EQ(s->fade(1), 0.5f);
  EXPECT_EQ(s->fade(2), 0.0f);
  std::vector<float> votes = {0, 5, 0, 3};
  s->rank({0, 0, 4, first(4)}, votes);
  EXPECT_EQ(votes, (std::vector<float>{0, 5, 0, 3}));
}

TEST(Scorer, TovaKeepsOnlyTheNewestRowsVote) {
  const auto s = scorer("tova");
  EXPECT_TRUE(s->observes_row(5, 5));
  EXPECT_FALSE(s->observes_row(4, 5));
  EXPECT_EQ(s->fade(1), 0.0f);
  std::vector<float> scores = {0.5f};
  s->rank({0, 0, 6, first(1)}, scores);
  EXPECT_EQ(scores[0], 0.5f);
}

TEST(Scorer, ZipCacheDividesByTheVotersThatSawTheToken) {
  const auto all = scorer("zipcache:probe=1");
  std::vector<float> scores = {4.0f, 3.0f, 2.0f, 1.0f};  // one unit per row that could see it
  all->rank({0, 0, 4, first(4)}, scores);
  EXPECT_EQ(scores, (std::vector<float>(4, 1.0f)));
  const auto few = scorer("zipcache:probe=0.1");
  int voters = 0;
  for (int p = 0; p < 10000; ++p) voters += few->observes_row(p, p);
  EXPECT_NEAR(voters, 1000, 100);
  std::vector<float> unseen = {0.0f};  // no voter among no rows
  const std::vector<int32_t> newest = {4};
  few->rank({0, 0, 4, newest}, unseen);
  EXPECT_GT(unseen[0], 1e29f);
}

// Rows to be ranked: keys and values [n][dim].
struct Rows {
  Rows(int width, std::vector<float> k, std::vector<float> v = {})
      : dim(width), keys(std::move(k)), values(std::move(v)) {}
  RankInput input(int layer = 0) {
    positions = first(static_cast<int>(keys.size()) / dim);
    RankInput rows{layer, 0, static_cast<int>(positions.size()), positions};
    rows.head_dim = dim;
    rows.read = [this](size_t from, size_t count, float* k, float* v) {
      const auto d = static_cast<size_t>(dim);
      std::copy_n(keys.data() + from * d, count * d, k);
      if (v && !values.empty()) std::copy_n(values.data() + from * d, count * d, v);
    };
    return rows;
  }
  int dim;
  std::vector<float> keys, values;
  std::vector<int32_t> positions;
};

TEST(Scorer, KeyNormPrefersSmallKeysBeyondTheSkippedLayers) {
  const auto s = scorer("knorm:skip=1");
  Rows rows{2, {1.8f, -2.4f, 0.6f, -0.8f, 1.2f, -1.6f}};
  std::vector<float> scores(3);
  s->rank(rows.input(1), scores);
  EXPECT_FLOAT_EQ(scores[0], -3.0f);
  EXPECT_FLOAT_EQ(scores[1], -1.0f);
  EXPECT_FLOAT_EQ(scores[2], -2.0f);
  s->rank(rows.input(0), scores);
  EXPECT_GT(scores[2], scores[1]);
}

TEST(Scorer, ScissorhandsCountsVotesAgainst) {
  const auto s = scorer("scissorhands:window=4");
  EXPECT_EQ(s->ballot(), Ballot::below_mean);
  EXPECT_TRUE(s->observes_row(97, 100));
  EXPECT_FALSE(s->observes_row(96, 100));
  EXPECT_EQ(s->fade(1), 0.75f);
}

// Directions (1,0), (0,1), (1,0): their mean points to (2,1) / sqrt 5, whatever their lengths.
TEST(Scorer, KeyDiffPrefersKeysUnlikeTheMean) {
  Rows rows{2, {3.0f, 0.0f, 0.0f, 0.5f, 1.0f, 0.0f, 0.0f, 0.0f}};
  std::vector<float> scores(4);
  scorer("keydiff")->rank(rows.input(), scores);
  EXPECT_NEAR(scores[0], -2 / std::sqrt(5.0f), 1e-6f);
  EXPECT_NEAR(scores[1], -1 / std::sqrt(5.0f), 1e-6f);
  EXPECT_NEAR(scores[2], -2 / std::sqrt(5.0f), 1e-6f);
  EXPECT_EQ(scores[3], 0.0f) << "a zero key has no direction";
}

// Steps of 1 and 2: one value a quarter of a step off its level. A key that is met exactly is safe.
TEST(Scorer, DamageIsRoundingErrorTimesLength) {
  Rows rows{8, {0, 0.25f, 3, 0, 0, 0, 0, 0,  //
                0, 0.5f,  6, 0, 0, 0, 0, 0,  //
                0, 1,     2, 3, 3, 2, 1, 0,  //
                5, 5,     5, 5, 5, 5, 5, 5}};
  std::vector<float> scores(4);
  scorer("damage")->rank(rows.input(), scores);
  EXPECT_NEAR(scores[0], 9.0625f * 0.25f, 1e-5f);
  EXPECT_NEAR(scores[1], 36.25f * 0.5f, 1e-4f);
  EXPECT_EQ(scores[2], 0.0f);
  EXPECT_EQ(scores[3], 0.0f);
  scorer("damage:length=0")->rank(rows.input(), scores);
  EXPECT_NEAR(scores[0], 0.25f, 1e-6f);
  EXPECT_NEAR(scores[1], 0.5f, 1e-6f);
}

// More rows than a tile, the last tile partly filled, at a head_dim that no group divides: every
// row scores what it scores alone, as the quantizer of one row has it.
TEST(Scorer, DamageOfManyRowsIsThatOfEachAlone) {
  constexpr int kDim = 72, kRows = 37;
  Rng rng(7);
  std::vector<float> keys(kDim * kRows);
  for (float& x : keys) x = rng.normal();
  std::vector<float> scores(kRows);
  const auto s = scorer("damage:length=1");
  s->rank(Rows{kDim, keys}.input(), scores);
  const PartShape shape = part_shape({LayoutId::u2, kGroupHalf}, kDim);
  for (size_t i = 0; i < kRows; ++i) {
    const std::vector<float> key(keys.begin() + static_cast<ptrdiff_t>(i * kDim),
                                 keys.begin() + static_cast<ptrdiff_t>((i + 1) * kDim));
    RowCodes codes;
    std::vector<float> rounded(kDim);
    rtn_quantize(shape, key.data(), &codes);
    rtn_dequantize(shape, codes, rounded.data());
    double error = 0.0, length = 0.0;
    for (size_t c = 0; c < kDim; ++c) {
      error += std::pow(key[c] - rounded[c], 2);
      length += std::pow(key[c], 2);
    }
    EXPECT_NEAR(scores[i], std::sqrt(error * length), 1e-3) << i;
  }
}

// Queries (1,0) and (3,0) before RoPE, which is off: mean (2,0), covariance diag(1,0), d = 2. So
// the key (x,0) has the logit 2x / sqrt 2 + x^2 / 4.
TEST(Scorer, ExpectedAttentionOfGaussianQueries) {
  QueryStats queries(1, 1, 2, {});
  const float q[] = {1.0f, 0.0f, 3.0f, 0.0f};
  queries.observe(0, q, 2, 1, 0);
  Rows rows{2, {0.0f, 5.0f, 1.0f, 0.0f, 2.0f, 0.0f}, {1.0f, 0.0f, 0.6f, 0.8f, 0.0f, 0.5f}};
  RankInput input = rows.input();
  input.queries = &queries;
  std::vector<float> scores(3);
  scorer("expected:value=none")->rank(input, scores);
  const double one = std::exp(std::sqrt(2.0) + 0.25), two = std::exp(2 * std::sqrt(2.0) + 1.0);
  EXPECT_NEAR(scores[0], 1 / (1 + one + two), 1e-6);
  EXPECT_NEAR(scores[1], one / (1 + one + two), 1e-6);
  EXPECT_NEAR(scores[2], two / (1 + one + two), 1e-6);
  scorer("expected")->rank(input, scores);
  EXPECT_NEAR(scores[2], 0.5 * two / (1 + one + two), 1e-6);
}

// Of rows a, a, b (a and b orthogonal) and attention .5, .4, .1: importance alone takes both a,
// diversity alone one of each.
TEST(Scorer, BumbleBeeWeighsDiversityAgainstImportance) {
  Rows rows{2, {1.0f, 0.0f, 2.0f, 0.0f, 0.0f, 1.0f}};
  RankInput input = rows.input();
  input.keep = 2;
  const std::vector<float> attention = {0.5f, 0.4f, 0.1f};
  std::vector<float> scores = attention;
  scorer("bumblebee:diversity=0")->rank(input, scores);
  EXPECT_EQ(scores[0], 2.0f);
  EXPECT_EQ(scores[1], 1.0f);
  EXPECT_LT(scores[2], 1.0f);
  scores = attention;
  scorer("bumblebee:diversity=0.9")->rank(input, scores);
  EXPECT_EQ(scores[0], 2.0f);
  EXPECT_LT(scores[1], 1.0f);
  EXPECT_EQ(scores[2], 1.0f);
  const std::vector<uint8_t> pinned = {0, 0, 1};  // b is there anyhow: an a is what it lacks
  input.pinned = pinned;
  scores = attention;
  scorer("bumblebee:diversity=1")->rank(input, scores);
  EXPECT_EQ(std::max_element(scores.begin(), scores.end()) - scores.begin(), 2);
  EXPECT_EQ(scores[1], 1.0f) << "of equal gains the newer row stays";
}

// Lazy bounds pick what computing every gain anew would pick.
TEST(Scorer, BumbleBeeIsGreedy) {
  Rng rng(3);
  for (int run = 0; run < 20; ++run) {
    const size_t n = 12;
    Rows rows{4, std::vector<float>(n * 4)};
    for (float& x : rows.keys) x = rng.normal();
    std::vector<float> attention(n);
    for (float& a : attention) a = rng.uniform();
    RankInput input = rows.input();
    input.keep = 5;
    std::vector<float> scores = attention;
    scorer("bumblebee:diversity=0.6")->rank(input, scores);
    const auto cosine = [&](size_t i, size_t j) {
      double dot = 0, a = 0, b = 0;
      for (size_t c = 0; c < 4; ++c) {
        dot += rows.keys[i * 4 + c] * rows.keys[j * 4 + c];
        a += rows.keys[i * 4 + c] * rows.keys[i * 4 + c];
        b += rows.keys[j * 4 + c] * rows.keys[j * 4 + c];
      }
      return std::max(dot / std::sqrt(a * b), 0.0);
    };
    const double total = std::accumulate(attention.begin(), attention.end(), 0.0);
    const auto worth = [&](const std::vector<size_t>& kept) {
      double covered = 0, mass = 0;
      for (size_t j = 0; j < n; ++j) {
        double best = 0;
        for (size_t i : kept) best = std::max(best, cosine(i, j));
        covered += best / static_cast<double>(n);
      }
      for (size_t i : kept) mass += attention[i] / total;
      return 0.6 * covered + 0.4 * std::sqrt(mass);
    };
    std::vector<size_t> kept;
    for (int place = 5; place > 0; --place) {
      size_t best = n;
      double most = -1;
      for (size_t i = 0; i < n; ++i) {
        if (std::find(kept.begin(), kept.end(), i) != kept.end()) continue;
        auto with = kept;
        with.push_back(i);
        if (worth(with) > most) most = worth(with), best = i;
      }
      kept.push_back(best);
      EXPECT_EQ(scores[best], static_cast<float>(place)) << "run " << run;
    }
  }
}

TEST(Scorer, RandomIsFixedPerTokenAndDiffersByHeadAndSeed) {
  const auto s = scorer("random:seed=4"), other = scorer("random:seed=5");
  std::vector<float> a(100), b(100), c(100), d(100);
  s->rank({1, 1, 100, first(100)}, a);
  s->rank({1, 1, 100, first(100)}, b);
  s->rank({1, 0, 100, first(100)}, c);
  other->rank({1, 1, 100, first(100)}, d);
  EXPECT_EQ(a, b);
  EXPECT_NE(a, c);
  EXPECT_NE(a, d);
}

}  // namespace
}  // namespace kvkeep
