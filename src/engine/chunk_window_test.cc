// The exact tokens beside chunks, step by step, and the memory of decoding. Both recent buffers of
// AQUA-KV: one that grows by a whole chunk before it goes down (saw-tooth), and one that slides.
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/session_fixture.h"

namespace kvkeep {
namespace {

constexpr size_t kSinks = 4;

// Newest tokens that are exact in every (layer, kv_head); all between them and the sinks must be in
// chunks everywhere. -1 where tokens stand otherwise.
int exact_window(const Session& s) {
  const TierMap map = s.tier_map();
  const auto first = map.row(0, 0);
  const auto window =
      static_cast<size_t>(std::find(first.rbegin(), first.rend(), int8_t{1}) - first.rbegin());
  std::vector<int8_t> expected(first.size(), 0);
  if (window < first.size())
    std::fill(expected.begin() + kSinks, expected.end() - static_cast<ptrdiff_t>(window),
              int8_t{1});
  for (int layer = 0; layer < map.layers; ++layer)
    for (int head = 0; head < map.kv_heads; ++head)
      if (!std::ranges::equal(map.row(layer, head), expected)) return -1;
  return static_cast<int>(std::min(window, first.size() - kSinks));
}

struct Buffer {
  const char* plan;
  int window, rows;
};

class RecentBuffer : public testing::TestWithParam<Buffer> {};

// After a prompt the window has its least; each step adds a token, until `rows` are due together.
TEST_P(RecentBuffer, GrowsByTheRowsOfAChunkAndFallsBack) {
  const auto [plan, window, rows] = GetParam();
  Session s = session(plan);
  const auto tokens = some_tokens(100, 12);
  ASSERT_TRUE(s.prefill(tokens));
  EXPECT_EQ(exact_window(s), window);
  for (int step = 1; step <= 2 * rows + 3; ++step) {
    ASSERT_TRUE(s.step(tokens[static_cast<size_t>(step) % tokens.size()]));
    ASSERT_EQ(exact_window(s), window + step % rows) << "after step " << step;
    ASSERT_EQ(s.report().exact_window, window) << "what the plan pins";
    ASSERT_EQ(s.report().readable_tokens, s.tokens());
  }
  ASSERT_TRUE(s.compress());
  EXPECT_EQ(exact_window(s), window) << "asked to, fewer rows go down as well";
}

// A prompt that the window holds whole goes down row by row once there is a chunk of it.
TEST_P(RecentBuffer, StartsWithinTheWindow) {
  const auto [plan, window, rows] = GetParam();
  Session s = session(plan);
  ASSERT_TRUE(s.prefill(some_tokens(window, 12)));
  for (int token = window + 1; token < window + rows + 8; ++token) {
    ASSERT_TRUE(s.step(7));
    const int recent = token - static_cast<int>(kSinks);
    ASSERT_EQ(exact_window(s), recent < window + rows ? recent : recent - rows) << token;
  }
}

INSTANTIATE_TEST_SUITE_P(Chunks, RecentBuffer,
                         testing::Values(Buffer{"aqua2:window=32,low.rows=128", 32, 128},
                                         Buffer{"aqua2:window=28,low.rows=32", 28, 32},
                                         Buffer{"aqua3:window=28,low.rows=16", 28, 16},
                                         Buffer{"keep1:window=44,low.rows=16", 44, 16}));

// One layer of all chunks in float32 and the waves of their positions; never a second layer.
TEST(ChunkMemory, DecodingUnpacksOneLayerAtATime) {
  Session s = session("aqua2:window=28,low.rows=32");
  constexpr size_t kTokens = 1024, kRows = kTokens - kSinks - 28;
  ASSERT_TRUE(s.prefill(some_tokens(kTokens, 12)));
  constexpr size_t kLayer = kRows * 2 * 2 * 64 * sizeof(float);  // K and V of two kv_heads of 64
  constexpr size_t kWaves = kRows * 64 * sizeof(float);          // 32 cosines and sines
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(s.step(5));
    const CacheReport report = s.report();
    EXPECT_GE(report.scratch_bytes, kLayer + kWaves);
    EXPECT_LT(report.scratch_bytes, 2 * kLayer);
  }
  ASSERT_TRUE(s.compress());
  EXPECT_LT(s.report().scratch_bytes, kWaves) << "given back";
}

// The most that was ever resident: a long prompt's exact rows, then what decoding adds.
TEST(ChunkMemory, ThePeakIsTheLargestCacheSoFar) {
  Session s = session("aqua2:window=28,low.rows=32");
  EXPECT_GE(s.report().peak_bytes, s.report().bytes);
  size_t largest = 0;
  const auto tokens = some_tokens(300, 12);
  ASSERT_TRUE(s.feed(tokens));
  largest = s.report().bytes;
  EXPECT_EQ(s.report().peak_bytes, largest) << "nothing was larger than all rows exact";
  EXPECT_GE(largest, 300u * 6 * 2 * 2 * 64 * 2);
  ASSERT_TRUE(s.compress());
  EXPECT_LT(s.report().bytes, largest);
  const size_t peak = s.report().peak_bytes;
  EXPECT_GE(peak, largest) << "chunks were written beside the rows they are made of";
  for (int i = 0; i < 70; ++i) {
    ASSERT_TRUE(s.step(9));
    EXPECT_EQ(s.report().peak_bytes, peak) << "a decode step needs less than the prompt did";
  }
}

}  // namespace
}  // namespace kvkeep
