// Plans of chunks through whole sessions on the embedded model and its calibration.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "engine/session_fixture.h"

namespace kvkeep {
namespace {

// A prompt, two compressed slices, decode steps past a chunk of 16: all logits on the way.
std::vector<float> journey(Session* s) {
  const auto tokens = some_tokens(260, 11);
  const std::span<const int32_t> all(tokens);
  std::vector<float> logits, slice;
  EXPECT_TRUE(s->prefill(all.first(150)));
  for (size_t at = 150; at < 210; at += 30) {
    EXPECT_TRUE(s->feed(all.subspan(at, 30), &slice));
    logits.insert(logits.end(), slice.begin(), slice.end());
    EXPECT_TRUE(s->compress());
  }
  for (size_t i = 210; i < 260; ++i) {
    EXPECT_TRUE(s->step(all[i]));
    logits.insert(logits.end(), s->logits().begin(), s->logits().end());
  }
  return logits;
}

TEST(ChunkSession, SameBitsForAnyNumberOfThreads) {
  for (const char* plan :
       {"aqua2:low.rows=16", "keep2:low.rows=16", "keep1:predictor=crush:base=none,low.v=p4n16"}) {
    Session one = session(plan), two = session(plan, 2);
    EXPECT_EQ(journey(&one), journey(&two)) << plan;
    EXPECT_EQ(one.report().bytes, two.report().bytes);
  }
}

TEST(ChunkSession, KeepOneIsExactAndAWindowStaysExact) {
  Session exact = session("f16"), all = session("keep2:keep=1");
  EXPECT_EQ(journey(&all), journey(&exact));
  Session s = session("aqua2:window=32,low.rows=16");
  journey(&s);
  const TierMap map = s.tier_map();
  for (int layer = 0; layer < map.layers; ++layer)
    for (int position = 0; position < 260; ++position) {
      const int level = map.row(layer, 1)[static_cast<size_t>(position)];
      if (position < 4 || position >= 260 - 32) {
        EXPECT_EQ(level, 0) << position;
      } else if (position < 260 - 48) {
        EXPECT_EQ(level, 1) << position;
      }
    }
  EXPECT_EQ(s.report().exact_window, 32);
  EXPECT_EQ(s.report().sinks, 4);
  EXPECT_EQ(s.report().readable_tokens, 260);
}

TEST(ChunkSession, EveryByteIsCountedAndTheExactRowsAreGone) {
  Session s = session("aqua2:window=0,low.rows=128");
  ASSERT_TRUE(s.prefill(some_tokens(1028, 11)));
  const CacheReport report = s.report(true);
  size_t sum = 0, codes = 0, scales = 0;
  for (const auto& part : report.breakdown) {
    sum += part.bytes;
    if (part.name == "codes") codes = part.bytes;
    if (part.name == "scales") scales = part.bytes;
  }
  EXPECT_EQ(sum, report.bytes);
  // 1,024 rows of 2 x 128 values: 4 bits at layer 0, 2 at five layers; an f16 a row and side.
  EXPECT_EQ(codes, 1024u * 256 * (4 + 5 * 2) / 8);
  // Headers, and a mean of 128 f16 for each side of a layer where the prediction was worse.
  const size_t extra = scales - 1024u * 2 * 6 * 2 - 8 * (32 + 2);
  EXPECT_EQ(extra % 256, 0u);
  EXPECT_LE(extra, 8u * 12 * 256);
  EXPECT_NEAR(report.paper_bits_per_value, (4 + 5 * 2) / 6.0 + 16.0 / 128, 1e-9);
  EXPECT_GT(report.shared_bytes, 200000u);
  EXPECT_LT(report.shared_bytes, 400000u);
  EXPECT_LT(report.bits_per_value_marginal, report.paper_bits_per_value + 1.5);  // a block a head
  EXPECT_LT(report.scratch_bytes, 1024u * 256 * 4) << "a prompt's scratch goes with its exact rows";
  EXPECT_GT(report.peak_bytes, report.bytes - report.shared_bytes + 1028 * 6 * 256 * 2);
  ASSERT_TRUE(s.step(5));
  EXPECT_GE(s.report().scratch_bytes, 1024u * 256 * 4) << "one layer in float32";
  EXPECT_EQ(report.layers.size(), 6u);
}

TEST(ChunkSession, ForksShareChunksAndRollbackStopsAtThem) {
  Session s = session("aqua2:window=8");
  const auto tokens = some_tokens(200, 11);
  ASSERT_TRUE(s.prefill(std::span(tokens).first(190)));
  Session fork = *s.fork();
  EXPECT_GT(fork.report().forked_bytes, 182u * 6 * 64);
  for (size_t i = 190; i < 200; ++i) {
    ASSERT_TRUE(s.step(tokens[i]));
    ASSERT_TRUE(fork.step(tokens[i]));
  }
  EXPECT_TRUE(std::equal(s.logits().begin(), s.logits().end(), fork.logits().begin()));
  const std::vector<float> before(s.logits().begin(), s.logits().end());
  ASSERT_TRUE(s.rollback(10));
  for (size_t i = 190; i < 200; ++i) ASSERT_TRUE(s.step(tokens[i]));
  EXPECT_TRUE(std::equal(s.logits().begin(), s.logits().end(), before.begin()));
  const auto refused = s.rollback(19);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("allowed are 0 to 18"), std::string::npos)
      << refused.error().message;
  EXPECT_NE(refused.error().message.find("chunks"), std::string::npos);
  EXPECT_EQ(s.tokens(), 200);
}

// Layer 0 is made of token numbers: those that stand there, not those that were taken back.
TEST(ChunkSession, TokenNumbersFollowRollbackAndForks) {
  const auto tokens = some_tokens(100, 11);
  const char* plan = "keep1:predictor=none,window=20,low.v=p4n16";
  Session straight = session(plan), winding = session(plan);
  for (Session* s : {&straight, &winding}) ASSERT_TRUE(s->prefill(std::span(tokens).first(30)));
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(winding.step(7));
  ASSERT_TRUE(winding.rollback(6));
  for (size_t i = 30; i < 60; ++i) {
    ASSERT_TRUE(straight.step(tokens[i]));
    ASSERT_TRUE(winding.step(tokens[i]));
  }
  Session fork = *winding.fork();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(winding.step(9));
  for (size_t i = 60; i < 100; ++i) {
    ASSERT_TRUE(straight.step(tokens[i]));
    ASSERT_TRUE(fork.step(tokens[i]));
  }
  EXPECT_TRUE(
      std::equal(straight.logits().begin(), straight.logits().end(), fork.logits().begin()));
  EXPECT_EQ(straight.report().readable_tokens, 100);
}

TEST(ChunkSession, WithoutACalibrationOrWithAnothersOneLineSaysWhatToDo) {
  const auto none = Session::create(embedded(), *Plan::parse("aqua2:low.k=p2n16"), {1, 0});
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().message.find("kvkeep calibrate"), std::string::npos);
  const std::string aqua2 = KVKEEP_SOURCE_DIR "/models/kvkeep-5m-f16.aqua2.kvcal";
  const auto other = Session::create(embedded(), *Plan::parse("aqua3"), {1, 0, aqua2});
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().message.find("another plan"), std::string::npos);
  EXPECT_TRUE(Session::create(embedded(), *Plan::parse("aqua2:low.rows=32"), {1, 0, aqua2}));
  EXPECT_TRUE(Session::create(embedded(), *Plan::parse("aqua2:predictor=none"), {1, 0}));
}

TEST(ChunkSession, ACalibrationWrittenAnewIsReadAnew) {
  namespace fs = std::filesystem;
  const std::string models = KVKEEP_SOURCE_DIR "/models/kvkeep-5m-f16.";
  const std::string path = testing::TempDir() + "written_anew.kvcal";
  const auto put = [&](const char* plan) {
    fs::copy_file(models + plan + ".kvcal", path, fs::copy_options::overwrite_existing);
  };
  put("aqua2");
  const auto first = Session::create(embedded(), *Plan::parse("aqua2"), {1, 0, path});
  ASSERT_TRUE(first) << first.error().message;
  put("aqua2-mean");
  const auto second = Session::create(embedded(), *Plan::parse("aqua2"), {1, 0, path});
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message.find("another plan"), std::string::npos);
  fs::remove(path);
}

}  // namespace
}  // namespace kvkeep
