#include <gtest/gtest.h>

#include <algorithm>
#include <bitset>
#include <numeric>
#include <set>

#include "base/half.h"
#include "base/rng.h"
#include "codec/representatives/block_picks.h"
#include "codec/representatives/representatives.h"
#include "codec/representatives/signature.h"

namespace kvkeep {
namespace {

std::unique_ptr<Representatives> make(const std::string& method) {
  return make_representatives(
      Plan::parse("h2o:representatives=" + method)->slot("representatives"));
}

float number_of(uint16_t ordered) {
  return f16_to_f32(static_cast<uint16_t>(ordered & 0x8000u ? ordered ^ 0x7fffu : ordered));
}

// Rows of one kv_head at some of `tokens` positions, with scores that often are equal.
HeadRows random_rows(Rng* rng, int tokens, int q_heads) {
  HeadRows rows;
  const auto holes = rng->below(3), levels = 1 + rng->below(12);
  const float below_zero = rng->below(2) ? 0.5f : 0.0f;
  int free = 0;
  for (int p = 0; p < tokens; ++p) {
    if (holes && rng->below(3) < holes) continue;
    rows.slots.push_back(static_cast<int>(rows.slots.size()));
    rows.positions.push_back(p);
    rows.scores.push_back(static_cast<float>(rng->below(levels)));
    rows.pinned.push_back(rng->below(4) == 0);
    free += !rows.pinned.back();
  }
  for (size_t i = 0; i < rows.size() * static_cast<size_t>(q_heads); ++i)
    rows.head_scores.push_back(
        ordered_f16(f32_to_f16(static_cast<float>(rng->below(levels)) / 7.0f - below_zero)));
  rows.leave = static_cast<int>(rng->below(static_cast<uint64_t>(free) + 1));
  rows.representatives = static_cast<int>(rng->below(static_cast<uint64_t>(free - rows.leave) + 1));
  if (rows.leave == 0) rows.representatives = 0;
  return rows;
}

// Rows that compete: all that are not pinned but the best, by selection of one after the other.
std::vector<size_t> naive_candidates(const HeadRows& rows) {
  std::vector<size_t> free;
  for (size_t i = 0; i < rows.size(); ++i)
    if (!rows.pinned[i]) free.push_back(i);
  while (free.size() > static_cast<size_t>(rows.leave + rows.representatives)) {
    size_t best = 0;
    for (size_t i = 1; i < free.size(); ++i)
      if (rows.scores[free[i]] >= rows.scores[free[best]]) best = i;
    free.erase(free.begin() + static_cast<ptrdiff_t>(best));
  }
  return free;
}

using Bits = std::bitset<256>;
using Candidates = std::vector<std::vector<size_t>>;  // of every kv_head

// Is x above all but about k of `among`? With more than 256 of them, of 256 evenly spaced ones.
bool naive_above(float x, const std::vector<float>& among, size_t k) {
  if (k >= among.size()) return true;
  std::vector<float> asked = among;
  if (among.size() > 256)
    for (size_t i = 0; i < 256; ++i) asked[i] = among[i * (among.size() - 1) / 255];
  asked.resize(std::min<size_t>(asked.size(), 256));
  k = k * asked.size() / among.size();
  size_t below = 0;
  for (float other : asked) below += other < x;
  return below >= asked.size() - k;
}

// The signature of a position as the text of the method has it, head by head.
Bits naive_signature(std::span<const HeadRows> heads, const Candidates& candidates, int position,
                     bool median) {
  Bits bits;
  size_t bit = 0;
  for (size_t h = 0; h < heads.size(); ++h) {
    const HeadRows& rows = heads[h];
    const std::vector<size_t>& among = candidates[h];
    const size_t n = rows.size(), lanes = n ? rows.head_scores.size() / n : 0;
    const auto at = std::find(rows.positions.begin(), rows.positions.end(), position);
    const auto row = static_cast<size_t>(at - rows.positions.begin());
    for (size_t lane = 0; lane < lanes; ++lane, ++bit) {
      if (row == n) continue;  // evicted earlier
      if (std::find(among.begin(), among.end(), row) == among.end()) {
        bits[bit] = true;
        continue;
      }
      const auto score = [&](size_t i) { return number_of(rows.head_scores[lane * n + i]); };
      std::vector<float> scores;
      for (size_t i : among) scores.push_back(score(i));
      const size_t k = median ? among.size() / 2 : static_cast<size_t>(rows.representatives);
      bits[bit] = naive_above(score(row), scores, k);
    }
  }
  return bits;
}

std::vector<uint8_t> naive_stays(std::span<const HeadRows> heads, size_t h, int layer,
                                 const std::string& anchor, bool median, bool even) {
  const HeadRows& rows = heads[h];
  Candidates candidates;
  for (const HeadRows& other : heads) candidates.push_back(naive_candidates(other));
  const std::vector<size_t>& among = candidates[h];
  size_t width = 0;
  for (const HeadRows& other : heads)
    width += other.size() ? other.head_scores.size() / other.size() : 0;
  std::vector<Bits> signatures;
  for (size_t row : among)
    signatures.push_back(naive_signature(heads, candidates, rows.positions[row], median));
  Bits reference;
  for (size_t b = 0; b < width; ++b) {
    size_t set = 0;
    for (const Bits& bits : signatures) set += bits[b];
    if (anchor == "mean") reference[b] = 2 * set > signatures.size();
    if (anchor == "alternate") reference[b] = b % 2 == 1;
    if (anchor == "ones") reference[b] = true;
    if (anchor == "random")
      reference[b] = hash64((static_cast<uint64_t>(layer) << 32) + b) % 2 == 1;
  }
  std::vector<size_t> order(among.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return (signatures[a] ^ reference).count() < (signatures[b] ^ reference).count();
  });
  std::vector<uint8_t> stays(rows.size(), 1);
  for (size_t row : among) stays[row] = 0;
  const size_t n = among.size(), k = static_cast<size_t>(rows.representatives);
  for (size_t i = 0; i < k; ++i) {
    size_t rank = (2 * i + 1) * n / (2 * k);
    if (k == n)
      rank = i;
    else if (even && k > 1)
      rank = i * (n - 1) / (k - 1);
    stays[among[order[rank]]] = 1;
  }
  return stays;
}

// One random case for every kv_head of a layer, compared with the oracle; the most candidates.
size_t compare(Rng* rng, int i, int tokens, int q_heads, size_t kv_heads) {
  const std::string anchors[] = {"random", "mean", "alternate", "zeros", "ones"};
  const std::string& anchor = anchors[i % 5];
  const bool median = rng->below(2), even = rng->below(2);
  const auto method = make("kvcrush:anchor=" + anchor + (median ? "" : ",threshold=top") +
                           (even ? "" : ",sample=middle"));
  const int layer = i % 3;
  std::vector<HeadRows> heads;
  for (size_t h = 0; h < kv_heads; ++h) heads.push_back(random_rows(rng, tokens, q_heads));
  const Stays stays = method->choose(layer, tokens, heads);
  EXPECT_EQ(stays.size(), heads.size());
  size_t most = 0;
  for (size_t h = 0; h < heads.size(); ++h) {
    EXPECT_EQ(stays[h], naive_stays(heads, h, layer, anchor, median, even))
        << "case " << i << ", kv_head " << h << ", anchor " << anchor;
    EXPECT_EQ(std::count(stays[h].begin(), stays[h].end(), 0), heads[h].leave);
    most = std::max(most, naive_candidates(heads[h]).size());
  }
  return most;
}

TEST(KvCrush, EqualsBruteForce) {
  Rng rng(1);
  for (int i = 0; i < 1500 && !HasFailure(); ++i) {
    const int tokens = 1 + static_cast<int>(rng.below(i % 50 ? 24 : 150));
    const int q_heads = 1 + static_cast<int>(rng.below(i % 50 ? 3 : 40));
    compare(&rng, i, tokens, q_heads, 1 + rng.below(i % 50 ? 2 : 4));
  }
}

TEST(KvCrush, EqualsBruteForceBeyondTheSampleOfAThreshold) {
  Rng rng(2);
  int sampled = 0;
  for (int i = 0; i < 30 && !HasFailure(); ++i)
    sampled += compare(&rng, i, 400 + static_cast<int>(rng.below(500)), 1 + i % 3, 1) > 256;
  EXPECT_GE(sampled, 10);
}

// Four heads, six candidates; zeros as the anchor: the distance is the number of set bits.
TEST(KvCrush, PicksByHand) {
  HeadRows rows;
  rows.slots = {0, 1, 2, 3, 4, 5};
  rows.positions = {0, 1, 2, 3, 4, 5};
  rows.scores = {0, 0, 0, 0, 0, 0};
  rows.pinned = {0, 0, 0, 0, 0, 0};
  for (int score : {9, 8, 7, 1, 1, 1,   // set: 0 1 2
                    9, 8, 1, 7, 1, 1,   // set: 0 1 3
                    9, 1, 8, 7, 1, 1,   // set: 0 2 3
                    9, 1, 1, 8, 7, 1})  // set: 0 3 4
    rows.head_scores.push_back(f32_to_f16(static_cast<float>(score)));
  rows.leave = 3;
  rows.representatives = 3;  // distances 4 2 2 3 1 0: order 5 4 1 2 3 0, ranks 0 2 5
  const HeadRows heads[] = {rows};
  EXPECT_EQ(make("kvcrush:anchor=zeros")->choose(0, 6, heads)[0],
            (std::vector<uint8_t>{1, 1, 0, 0, 0, 1}));
}

TEST(KvCrush, ScoresOfAnySignKeepTheirOrder) {
  const float ascending[] = {-65504.0f, -2.0f, -1.0f, -0x1p-24f, 0.0f, 0x1p-24f, 1.0f, 65504.0f};
  for (size_t i = 0; i < std::size(ascending); ++i) {
    const uint16_t ordered = ordered_f16(f32_to_f16(ascending[i]));
    EXPECT_EQ(number_of(ordered), ascending[i]);
    if (i > 0) {
      EXPECT_LT(static_cast<int16_t>(ordered_f16(f32_to_f16(ascending[i - 1]))),
                static_cast<int16_t>(ordered));
    }
  }
  EXPECT_EQ(ordered_f16(0x7e00), 0x8000) << "what is no number is the least";
  EXPECT_EQ(ordered_f16(0xfe00), 0x8000);
}

TEST(Spread, HoldsItsRanks) {
  const size_t distances[] = {2, 0, 1, 0, 2, 1, 0};  // order: 1 3 6 | 2 5 | 0 4
  Signatures signatures(2, 7);
  for (size_t token = 0; token < 7; ++token)
    for (size_t head = 0; head < distances[token]; ++head)
      signatures.plane(head)[0] |= uint64_t{1} << token;
  const uint8_t zeros[] = {0, 0};
  const uint64_t all[] = {127}, none[] = {0};
  const auto spread = [&](size_t count, bool even) {
    return spread_over(signatures, zeros, all, count, even);
  };
  using Tokens = std::vector<size_t>;
  EXPECT_EQ(spread(0, true), Tokens{});
  EXPECT_EQ(spread(1, true), Tokens{2});
  EXPECT_EQ(spread(2, true), (Tokens{1, 4}));        // ranks 0, 6
  EXPECT_EQ(spread(4, true), (Tokens{1, 4, 5, 6}));  // ranks 0, 2, 4, 6
  EXPECT_EQ(spread(2, false), (Tokens{0, 3}));       // ranks 1, 5
  EXPECT_EQ(spread(7, true), (Tokens{0, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(spread(99, false).size(), 7u);
  EXPECT_EQ(spread_over(signatures, zeros, none, 3, true), Tokens{});
}

TEST(Spread, ThresholdOfManyIsThatOfAnEvenSample) {
  std::vector<uint16_t> values(20000);
  Rng rng(3);
  for (auto& value : values) value = f32_to_f16(rng.uniform());
  const uint16_t threshold = threshold_above(values, 5000);
  const auto above = std::count_if(values.begin(), values.end(),
                                   [&](uint16_t value) { return value > threshold; });
  EXPECT_NEAR(static_cast<double>(above), 5000.0,
              1200.0);  // three standard errors of a sample of 256
}

// OpenVINO's steps once more, token by token and without anything shared with the code.
std::vector<size_t> naive_blocks(const std::vector<float>& scores, size_t block,
                                 const std::vector<uint8_t>& evicted,
                                 const std::vector<uint8_t>& anchor, size_t budget) {
  std::vector<int> indicator(scores.size());
  for (size_t i = 0; i < scores.size(); ++i) {
    size_t before = 0;  // tokens that are better
    for (size_t j = 0; j < scores.size(); ++j)
      before += scores[j] > scores[i] || (scores[j] == scores[i] && j < i);
    indicator[i] = before < scores.size() / 2;
  }
  std::vector<std::vector<size_t>> by_distance(block + 1);
  size_t all = 0;
  for (size_t b = 0; b < evicted.size(); ++b) {
    if (!evicted[b]) continue;
    size_t hamming = 0;
    for (size_t i = 0; i < block; ++i)
      hamming += static_cast<size_t>(indicator[b * block + i] ^ anchor[i]);
    by_distance[hamming].push_back(b);
    ++all;
  }
  std::vector<size_t> line;
  for (const auto& level : by_distance) line.insert(line.end(), level.begin(), level.end());
  const size_t n = std::min(all, budget), step = n ? all / n : 1;
  std::set<size_t> picks;
  for (size_t at = 0; picks.size() < n; at += step) picks.insert(line[at]);
  return {picks.begin(), picks.end()};
}

TEST(KvCrushBlock, PicksWhatOpenVinoPicks) {
  Rng rng(4);
  for (int i = 0; i < 3000; ++i) {
    const size_t block = 1 + rng.below(8), blocks = rng.below(14);
    std::vector<float> scores(block * blocks);
    for (auto& score : scores) score = static_cast<float>(rng.below(1 + rng.below(20)));
    std::vector<uint8_t> evicted(blocks), anchor(block);
    for (auto& bit : evicted) bit = rng.below(4) > 0;
    for (auto& bit : anchor) bit = rng.below(2) > 0;
    const size_t budget = rng.below(7);
    ASSERT_EQ(block_picks(scores, block, evicted, anchor, budget),
              naive_blocks(scores, block, evicted, anchor, budget))
        << "case " << i;
  }
}

// Ten evicted blocks and a budget of four: 0, 2, 4, 6 and never the far tail.
TEST(KvCrushBlock, StepsByTheFloor) {
  const std::vector<float> scores(20, 1.0f);
  const std::vector<uint8_t> evicted(10, 1), anchor(2, 0);  // the first ten tokens have set bits
  EXPECT_EQ(block_picks(scores, 2, evicted, anchor, 4), (std::vector<size_t>{1, 5, 7, 9}));
}

TEST(KvCrushBlock, KeepsWholeBlocksAndAlwaysTheRightNumber) {
  Rng rng(5);
  for (int i = 0; i < 500; ++i) {
    const auto method = make(i % 2 ? "kvcrush-block:block=4,anchor=mean" : "kvcrush-block:block=3");
    HeadRows heads[] = {random_rows(&rng, 60, 0)};
    const auto stays = method->choose(0, 60, heads)[0];
    ASSERT_EQ(std::count(stays.begin(), stays.end(), 0), heads[0].leave);
    for (size_t row = 0; row < stays.size(); ++row) ASSERT_GE(stays[row], heads[0].pinned[row]);
  }
}

TEST(RandomRepresentatives, StayPickedAsLongAsTheyMay) {
  HeadRows rows;
  for (int i = 0; i < 40; ++i) {
    rows.slots.push_back(i);
    rows.positions.push_back(i);
    rows.scores.push_back(static_cast<float>(i % 2));
    rows.pinned.push_back(i >= 36);
  }
  rows.leave = 12;
  rows.representatives = 6;
  const HeadRows heads[] = {rows};
  const auto stays = make("random")->choose(0, 40, heads)[0];
  EXPECT_EQ(std::count(stays.begin(), stays.end(), 0), 12);
  rows.leave = 13;
  rows.representatives = 5;
  const HeadRows fewer[] = {rows};
  const auto later = make("random")->choose(0, 40, fewer)[0];
  for (size_t i = 0; i < stays.size(); ++i) EXPECT_LE(later[i], stays[i]);
}

}  // namespace
}  // namespace kvkeep
