// Several sessions that take their decode steps together.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/rng.h"
#include "engine/batch_attention.h"
#include "engine/session_fixture.h"

namespace kvkeep {
namespace {

// A session that has read a prompt, and the tokens it will be fed.
struct Part {
  Session session;
  std::vector<int32_t> tokens;
  std::vector<float> logits = {};  // of all steps

  void keep() { logits.insert(logits.end(), session.logits().begin(), session.logits().end()); }
};

Part part(const std::string& plan, int prompt, uint64_t seed, int threads = 1) {
  Part made{*Session::create(embedded(), *Plan::parse(plan), {threads, 0}), some_tokens(40, seed)};
  EXPECT_TRUE(made.session.prefill(some_tokens(prompt, seed + 100)));
  return made;
}

void steps_alone(Part* part, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    ASSERT_TRUE(part->session.step(part->tokens[i]));
    part->keep();
  }
}

void steps_together(std::vector<Part>* parts, size_t n) {
  std::vector<Session*> sessions;
  for (Part& one : *parts) sessions.push_back(&one.session);
  for (size_t i = 0; i < n; ++i) {
    std::vector<int32_t> tokens;
    for (const Part& one : *parts) tokens.push_back(one.tokens[i]);
    const auto done = Session::step(sessions, tokens);
    ASSERT_TRUE(done) << done.error().message;
    for (Part& one : *parts) one.keep();
  }
}

void expect_same(const Part& found, const Part& expected, const std::string& what) {
  EXPECT_EQ(found.logits, expected.logits) << what;
  const CacheReport a = found.session.report(), b = expected.session.report();
  EXPECT_EQ(a.tokens, b.tokens) << what;
  EXPECT_EQ(a.readable_tokens, b.readable_tokens) << what;
  EXPECT_EQ(a.bytes, b.bytes) << what;
  EXPECT_EQ(a.peak_bytes, b.peak_bytes) << what;
  EXPECT_EQ(found.session.tier_map().level, expected.session.tier_map().level) << what;
}

// As many as run through the matrix-vector kernels anyway, and more.
TEST(Batch, EveryStepHasTheBitsOfASessionAlone) {
  const std::vector<std::string> plans = {"f16",   "mikv-h2o", "mikv-c",         "h2o",
                                          "rtn2",  "aqua2",    "mikv:keep=0.05", "kvcrush",
                                          "kivi2", "q4_0-rot", "expected"};
  // Lengths of less than a block to several.
  const auto prompt = [](size_t i) { return 20 + 50 * static_cast<int>((i * 7) % 11); };
  std::vector<Part> alone;
  for (size_t i = 0; i < plans.size(); ++i) {
    alone.push_back(part(plans[i], prompt(i), i));
    steps_alone(&alone[i], 18);
  }
  for (const auto& [count, threads] : {std::pair<size_t, int>{1, 1}, {3, 3}, {11, 1}, {11, 3}}) {
    std::vector<Part> together;
    for (size_t i = 0; i < count; ++i)  // threads of the others do not matter
      together.push_back(part(plans[i], prompt(i), i, i == 0 ? threads : 1));
    steps_together(&together, 18);
    for (size_t i = 0; i < count; ++i)
      expect_same(together[i], alone[i],
                  fmt::format("{}, {} on {} threads", plans[i], count, threads));
  }
}

TEST(Batch, MembersMayComeAndGo) {
  Part a = part("mikv-h2o", 150, 1), b = part("rtn2", 90, 2), alone = part("mikv-h2o", 150, 1);
  std::vector<Part> both;
  both.push_back(std::move(a));
  both.push_back(std::move(b));
  steps_together(&both, 5);
  Part& left = both[0];
  for (size_t i = 5; i < 12; ++i) {
    ASSERT_TRUE(left.session.step(left.tokens[i]));
    left.keep();
  }
  steps_alone(&alone, 12);
  expect_same(left, alone, "mikv-h2o");
}

// They share blocks until one of them writes, which a read of a tier with scores does.
TEST(Batch, ForksOfOneSequenceStepTogether) {
  for (const char* plan : {"mikv-c", "mikv-c:scorer=h2o", "h2o", "f16", "aqua2:window=32"}) {
    std::vector<Part> alone;
    for (const uint64_t seed : {1, 2, 3}) {
      alone.push_back(part(plan, 200, 1));
      alone.back().tokens = some_tokens(40, seed);
      steps_alone(&alone.back(), 18);
    }
    for (const int threads : {1, 3}) {
      std::vector<Part> together;
      together.push_back(part(plan, 200, 1, threads));
      for (const uint64_t seed : {2, 3})
        together.push_back({*together[0].session.fork(), some_tokens(40, seed)});
      steps_together(&together, 18);
      for (size_t i = 0; i < together.size(); ++i) {
        EXPECT_EQ(together[i].logits, alone[i].logits) << plan << " " << threads;
        EXPECT_EQ(together[i].session.tier_map().level, alone[i].session.tier_map().level) << plan;
      }
    }
  }
}

std::string refusal(std::vector<Session*> sessions, const std::vector<int32_t>& tokens) {
  const auto refused = Session::step(sessions, tokens);
  EXPECT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::bad_input);
  return refused.error().message;
}

TEST(Batch, RefusalsSayWhyAndFeedNobody) {
  Part a = part("mikv", 50, 1), b = part("rtn2", 30, 2), reference = part("mikv", 50, 1);
  Session full = *Session::create(embedded(), *Plan::parse("f16"), {1, 10});
  ASSERT_TRUE(full.prefill(some_tokens(10, 3)));
  const Model twin = *Model::load(KVKEEP_SOURCE_DIR "/models/kvkeep-5m-f16.gguf");
  Session other = *Session::create(twin, *Plan::parse("f16"), {1, 0});
  EXPECT_EQ(refusal({}, {}), "0 sessions in one step, allowed are 1 to 256");
  EXPECT_EQ(refusal(std::vector<Session*>(257, &a.session), std::vector<int32_t>(257)),
            "257 sessions in one step, allowed are 1 to 256");
  EXPECT_EQ(refusal({&a.session, &b.session}, {1}), "1 tokens for 2 sessions, allowed is one each");
  EXPECT_EQ(refusal({&a.session, nullptr}, {1, 2}), "session 1 of the step is null");
  EXPECT_EQ(refusal({&a.session, &b.session, &a.session}, {1, 2, 3}),
            "sessions 0 and 2 of the step are the same");
  EXPECT_EQ(refusal({&a.session, &other}, {1, 2}),
            "session 1 of the step is not of the model of session 0");
  EXPECT_EQ(refusal({&a.session, &full}, {1, 2}),
            "session 1 of the step: 1 tokens do not fit: 10 of 10 in the context are taken");
  EXPECT_EQ(refusal({&a.session, &b.session}, {1, 2048}),
            "session 1 of the step: token 2048 is not in 0 to 2047");
  EXPECT_EQ(a.session.tokens(), 50);
  EXPECT_EQ(b.session.tokens(), 30);
  steps_alone(&a, 3);
  steps_alone(&reference, 3);
  expect_same(a, reference, "after refusals");
}

// A row that is not a number ends its sequence and no other.
TEST(Batch, OneBadRowDoesNotHarmTheOthers) {
  ThreadPool pool(2);
  const AttentionShape shape{2, 2, 1, 8};
  RopeConfig rope;
  rope.dim = 8;
  std::vector<std::unique_ptr<CompressedAttention>> sites, alone;
  for (auto* made : {&sites, &alone})
    for (const char* plan : {"f16", "rtn2", "h2o"})
      made->push_back(*CompressedAttention::make(*Plan::parse(plan), shape, rope, 64, &pool));
  BatchAttention batch({sites[0].get(), sites[1].get(), sites[2].get()}, &pool);
  Rng rng(3);
  const std::vector<int32_t> ids(3);
  for (int position = 0; position < 3; ++position)
    for (int layer = 0; layer < 2; ++layer) {
      std::vector<float> q(3 * 16), k(3 * 8), v(3 * 8), out(q.size(), 7.0f), expected(q);
      for (auto* rows : {&q, &k, &v})
        for (float& x : *rows) x = rng.normal();
      const bool bad = position == 2;
      if (bad && layer == 1) v[8 + 3] = std::numeric_limits<float>::quiet_NaN();
      ASSERT_TRUE(
          batch.attend({layer, 3, position, q.data(), k.data(), v.data(), out.data(), ids.data()}));
      for (size_t i = 0; i < 3; ++i)
        if (const auto done = alone[i]->attend({layer, 1, position, &q[i * 16], &k[i * 8],
                                                &v[i * 8], &expected[i * 16], ids.data()});
            !done)
          std::fill_n(&expected[i * 16], 16, 0.0f);
      EXPECT_EQ(out, expected) << position;
    }
  EXPECT_TRUE(batch.result(0));
  ASSERT_FALSE(batch.result(1));
  EXPECT_NE(batch.result(1).error().message.find("layer 1, kv_head 0, position 2"),
            std::string::npos)
      << batch.result(1).error().message;
  EXPECT_EQ(sites[1]->tokens(), 2);
  EXPECT_EQ(sites[2]->tokens(), 3);
}

}  // namespace
}  // namespace kvkeep
