#include "eval/at_bytes.h"

#include <cmath>

#include "eval/eval_fixture.h"
#include "eval/measure.h"

namespace kvkeep {
namespace {

Plan plan(const std::string& text) { return Plan::parse(text).value(); }

TEST(AtBytes, ReadsSharesAndBits) {
  EXPECT_EQ(parse_bytes("20%", 1000).value(), 200u);
  EXPECT_EQ(parse_bytes("3.2", 1000).value(), 200u);
  EXPECT_EQ(parse_bytes("16", 1000).value(), 1000u);
  for (const char* text : {"", "%", "x", "0", "-1", "17", "101%", "20%%", "20 %", "nan", "inf"})
    EXPECT_FALSE(parse_bytes(text, 1000)) << text;
}

TEST(AtBytes, ChangesOnlyKeep) {
  EXPECT_EQ(with_keep(plan("mikv:keep=0.3,low=u4"), 0.125).value().typed(),
            "mikv:keep=0.1250,align=blocks,low=u4");
  EXPECT_EQ(with_keep(plan("h2o"), 0.5).value(), plan("h2o:keep=0.5,align=blocks"));
  EXPECT_EQ(with_keep(plan("h2o:align=rows"), 0.5).value(), plan("h2o:keep=0.5"));
  EXPECT_EQ(with_keep(plan("mikv-c:budget=ada"), 0.5).value(), plan("mikv-c:budget=ada,keep=0.5"));
  const auto slots = plan("scorer=snapkv;budget=uniform:keep=0.3,sinks=4;low=drop");
  EXPECT_EQ(with_keep(slots, 0.5).value(),
            plan("scorer=snapkv;budget=uniform:keep=0.5,align=blocks,sinks=4;low=drop"));
  EXPECT_EQ(with_keep(plan("pyramidkv"), 0.5).value(), plan("pyramidkv:keep=0.5,align=blocks"));
  EXPECT_EQ(with_keep(plan("kvcrush:base=h2o,share=0.5"), 0.5).value(),
            plan("kvcrush:base=h2o,keep=0.5,align=blocks,share=0.5"));
  EXPECT_EQ(with_keep(plan("keep2"), 0.5).value(), plan("keep2:keep=0.5"))
      << "one set for all heads";
  EXPECT_EQ(with_fine(plan("keep2:keep=0.5,low.fine=1"), 0.25).value(),
            plan("keep2:keep=0.5,low.fine=0.25"));
}

// A smooth cache of 100 + 1000 keep bytes: 300 are keep=0.2.
TEST(AtBytes, FindsTheKnob) {
  const MeasureBytes smooth = [](const Plan& p, const ProgressFn&) {
    return Result<size_t>(
        static_cast<size_t>(std::lround(100 + 1000 * p.slot("budget").number("keep"))));
  };
  const auto fitted = fit_bytes(plan("h2o:keep=0.9"), 300, smooth).value();
  EXPECT_NEAR(fitted.keep, 0.2, 0.003);
  EXPECT_LE(std::abs(fitted.deviation), 0.01);
  EXPECT_EQ(fit_bytes(plan("h2o"), 50, smooth).error().code, ErrorCode::bad_input);
  EXPECT_EQ(fit_bytes(plan("h2o"), 2000, smooth).error().code, ErrorCode::bad_input);
  EXPECT_NEAR(fit_bytes(plan("diffkv"), 300, smooth).value().keep, 0.2, 0.003);
  EXPECT_NEAR(fit_bytes(plan("mikv:budget=uniform:keep=0.3"), 300, smooth).value().keep, 0.2,
              0.003);
  for (const char* fixed : {"rtn2", "f16", "q4_0"})
    EXPECT_EQ(fit_bytes(plan(fixed), 300, smooth).error().code, ErrorCode::bad_input) << fixed;
  EXPECT_EQ(fit_bytes(plan("rtn2"), 104, smooth).value().plan, plan("rtn2")) << "fits as it is";
}

// Steps of 100 bytes: 250 lies between two, either is off by 50.
TEST(AtBytes, TellsHowFarTheNearestStepIs) {
  const MeasureBytes stairs = [](const Plan& p, const ProgressFn&) {
    return Result<size_t>(100 *
                          static_cast<size_t>(std::ceil(10 * p.slot("budget").number("keep"))));
  };
  const auto fitted = fit_bytes(plan("h2o"), 250, stairs).value();
  EXPECT_NEAR(std::abs(fitted.deviation), 0.2, 1e-9);
}

// Steps of 500 bytes with keep: 1,700 is 1,500 and 200 of the 400 that fine chunks may add.
TEST(AtBytes, FineChunksTakeWhatIsLeft) {
  const MeasureBytes stairs = [](const Plan& p, const ProgressFn&) {
    const double steps = std::floor(10 * p.slot("budget").number("keep"));
    const double fine = p.slot("low").number("fine");
    return Result<size_t>(static_cast<size_t>(std::lround(1000 + 500 * steps + 400 * fine)));
  };
  const auto fitted = fit_bytes(plan("keep2"), 1700, stairs).value();
  EXPECT_EQ(std::floor(10 * fitted.keep), 1);
  EXPECT_NEAR(fitted.fine, 0.5, 0.04);
  EXPECT_LE(std::abs(fitted.deviation), 0.01);
  EXPECT_NEAR(fit_bytes(plan("keep1"), 1300, stairs).value().fine, 0.75, 0.03);
  EXPECT_EQ(fit_bytes(plan("keep1"), 1700, stairs).error().code, ErrorCode::bad_input);
}

TEST(AtBytes, FitsARealCache) {
  const auto tokens = random_tokens(embedded_model().info().vocab, 1024, 1);
  const MeasureBytes measure = [&](const Plan& p, const ProgressFn&) {
    return measure_cache(embedded_model(), p, tokens, {}).map([](const auto& r) {
      return r.bytes;
    });
  };
  const auto f16 = static_cast<double>(measure(plan("f16"), {}).value());
  const auto near = [&](const char* text, double share) {
    const auto target = static_cast<size_t>(share * f16);
    const auto fitted = fit_bytes(plan(text), target, measure);
    ASSERT_TRUE(fitted) << text << ": " << fitted.error().message;
    EXPECT_EQ(measure(fitted->plan, {}).value(), fitted->bytes) << text;
    EXPECT_LE(std::abs(fitted->deviation), 0.01) << fitted->plan.typed();
  };
  near("h2o", 1.0 / 3);
  for (const char* text : {"pyramidkv", "adakv", "aqua2", "keep2"}) near(text, 0.4);
  for (const char* text : {"pyramidkv", "keep2"}) near(text, 0.36);
  near("keep1", 0.24);
}

}  // namespace
}  // namespace kvkeep
