// Attention over rows that stand for several tokens.
#include <gtest/gtest.h>

#include "attention/decode_attention.h"
#include "attention/prefill_attention.h"
#include "base/rng.h"

namespace kvkeep {
namespace {

constexpr int kDim = 32, kGqa = 2, kTokens = 96, kMore = 20;

// All tokens have the same key, so attention is the mean of the values of all tokens so far,
// however many of them were merged: masses must count in decoding and in slices of a prompt.
TEST(MergedRows, CountAsTheTokensTheyStandFor) {
  for (const char* text : {"h2o:low=d2o", "snapkv:low=kvmerger", "kvcrush:low=d2o,share=0.5"}) {
    SCOPED_TRACE(text);
    Pipeline pipeline = *Pipeline::make(*Plan::parse(text), {1, 1, kDim, 4096, {}, kGqa});
    Sequence cache(1, 1, pipeline.tier_shapes());
    DecodeAttention decode(&pipeline, {1, kGqa, kDim});
    PrefillAttention prefill(&pipeline, {1, kGqa, kDim});
    ThreadPool pool(1);
    Rng rng(1);
    std::vector<float> key(kDim), sum(kDim), q(kMore * kGqa * kDim), out(q.size());
    for (float& x : key) x = rng.normal();
    for (float& x : q) x = rng.normal();
    int tokens = 0;
    const auto append = [&] {
      std::vector<float> value(kDim);
      for (size_t c = 0; c < kDim; ++c) sum[c] += value[c] = rng.normal();
      ASSERT_TRUE(pipeline.append(&cache, {}, tokens++, key.data(), value.data()));
    };
    const auto demote = [&](bool flush) {
      if (pipeline.layer_level() == 0)
        pipeline.demote_layer(&cache, 0, tokens, flush);
      else
        pipeline.demote(&cache, {}, 0, tokens, flush);
    };
    for (int i = 0; i < kTokens; ++i) append();
    decode.attend(&cache, 0, q.data(), out.data(), &pool);
    demote(true);
    ASSERT_EQ(cache.tier(0, 0, 0).size(), 20);
    for (int step = 0; step < 40; ++step) {
      append();
      decode.attend(&cache, 0, q.data(), out.data(), &pool);
      for (size_t c = 0; c < kDim; ++c)
        ASSERT_NEAR(out[c], sum[c] / static_cast<float>(tokens), 1e-2) << "step " << step;
      demote(false);
    }
    for (int i = 0; i < kMore; ++i) append();
    prefill.attend(&cache, 0, kMore, q.data(), out.data(), &pool);
    const float* last = out.data() + (kMore * kGqa - 1) * kDim;
    for (size_t c = 0; c < kDim; ++c)
      EXPECT_NEAR(last[c], sum[c] / static_cast<float>(tokens), 1e-2);
  }
}

}  // namespace
}  // namespace kvkeep
