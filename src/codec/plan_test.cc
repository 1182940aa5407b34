#include "kvkeep/plan.h"

#include <gtest/gtest.h>

#include "codec/registry.h"
#include "kvkeep/methods.h"

namespace kvkeep {
namespace {

TEST(Plan, EveryPresetParsesAndItsCanonicalFormIsAFixedPoint) {
  for (const PresetInfo& preset : presets()) {
    const auto plan = Plan::parse(preset.name);
    ASSERT_TRUE(plan) << plan.error().message;
    const auto again = Plan::parse(plan->canonical());
    ASSERT_TRUE(again) << plan->canonical() << ": " << again.error().message;
    EXPECT_EQ(again->canonical(), plan->canonical());
    EXPECT_EQ(plan->typed(), preset.name);
  }
}

TEST(Plan, OverridesReachTheirSlot) {
  EXPECT_EQ(Plan::parse("mikv-h2o:keep=0.30,low=u4,seed=3").has_value(), false);  // h2o has no seed
  const auto plan =
      Plan::parse("mikv-h2o:keep=0.30,low=u4,high=u8g32,sinks=4,transform=centre+hadamard");
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->canonical(),
            "scorer=h2o:norm=none,gqa=sum;budget=uniform:keep=0.3,mid_keep=0,recent=0.5,"
            "mid_recent=0,quota=growing,sinks=4,prefix=0,window=0,slice=0,demote=16,"
            "align=rows;"
            "representatives=none;high=rtn:k=u8g32,v=u8g32;mid=none;"
            "low=rtn:k=u4,v=u4;predictor=none;transform=centre:guard=on+hadamard:k=0,v=0,signs=0;"
            "attend=integer");
  EXPECT_EQ(Plan::parse("rtn4:attend=exact")->slot("attend").method, "exact");
  EXPECT_EQ(Plan::parse("mikv:mid=u4,mid_keep=0.3")->slot("mid").param("v"), "u4");
  EXPECT_EQ(Plan::parse("mikv-h2o:norm=rows,gqa=max")->slot("scorer").param("gqa"), "max");
  EXPECT_EQ(Plan::parse("mikv-c:budget=ada")->slot("budget").param("keep"), "0.05");
  EXPECT_EQ(Plan::parse("mikv:sinks=4,budget=pyramid:keep=0.3")->canonical(),
            Plan::parse("mikv:budget=pyramid,keep=0.3,sinks=4")->canonical());
  EXPECT_EQ(Plan::parse("mikv:low.k=u3")->slot("low").param("k"), "u3");
  EXPECT_EQ(Plan::parse("mikv:low.k=u3")->slot("low").param("v"), "u2");
  EXPECT_EQ(Plan::parse("random:seed=7,keep=0.5")->slot("scorer").param("seed"), "7");
  EXPECT_EQ(Plan::parse("snapkv:scorer.window=8")->slot("scorer").param("window"), "8");
  EXPECT_FALSE(Plan::parse("snapkv:window=8"));  // the budget has a window too
  EXPECT_EQ(Plan::parse("mikv:window=8")->slot("budget").param("window"), "8");
  EXPECT_EQ(Plan::parse("mikv")->canonical(), Plan::parse("mikv:keep=0.2")->canonical());
}

TEST(Plan, RefusalsNameSlotValueAndWhatIsAllowed) {
  const auto message = [](const char* text) {
    const auto plan = Plan::parse(text);
    EXPECT_FALSE(plan) << text;
    EXPECT_EQ(plan ? ErrorCode::failed : plan.error().code, ErrorCode::bad_input) << text;
    const std::string line = plan ? "" : plan.error().message;
    EXPECT_EQ(line.find('\n'), std::string::npos);
    return line;
  };
  EXPECT_NE(message("mikw").find("mikv"), std::string::npos);
  EXPECT_NE(message("mikv:keep=1.5").find("0 to 1"), std::string::npos);
  EXPECT_NE(message("mikv:keep=nan").find("keep=nan"), std::string::npos);
  EXPECT_NE(message("mikv:low=u6").find("u8, u5, u4"), std::string::npos);
  EXPECT_NE(message("mikv:sinks=1.5").find("integer"), std::string::npos);
  EXPECT_NE(message("mikv:quota=large").find("growing, fixed"), std::string::npos);
  EXPECT_NE(message("mikv:mid=u4").find("share"), std::string::npos);
  EXPECT_NE(message("mikv:mid_keep=0.1").find("share"), std::string::npos);
  EXPECT_NE(message("mikv:mid=u4,keep=0.6,mid_keep=0.5").find("sum of at most 1"),
            std::string::npos);
  EXPECT_NE(message("mikv:fish=1").find("keep"), std::string::npos);
  EXPECT_NE(message("mikv:gqa=max").find("gqa"), std::string::npos);
  EXPECT_NE(message("mikv:representatives=kvcrush").find("observe attention"), std::string::npos);
  EXPECT_NE(message("scorer=best").find("h2o"), std::string::npos);
  EXPECT_NE(message("score=h2o").find("scorer"), std::string::npos);
  EXPECT_NE(message("scorer=h2o;scorer=h2o").find("twice"), std::string::npos);
  EXPECT_NE(message("h2o:keep=0").find("no token"), std::string::npos);
  EXPECT_NE(message("mikv:transform=none+centre").find("combined"), std::string::npos);
  EXPECT_NE(message("scorer=h2o+random").find("one method"), std::string::npos);
  for (const char* text : {"", "mikv:", "mikv:keep", "mikv:keep=", "mikv:=1", ";", "scorer=",
                           "mikv:.=1", "mikv:low.=u2", "mikv:a.b=c", "low=rtn:k=f16", "=", ":"})
    message(text);
  message(std::string(5000, 'a').c_str());
}

TEST(Registry, AdvisesAgainstWhatMeasurementsSayDoesNotPay) {
  const auto hint = [](const char* text, bool asks) { return advice(*Plan::parse(text), asks); };
  EXPECT_EQ(hint("h2o", true), "");
  EXPECT_EQ(hint("h2o:representatives=random", true), "") << "a control";
  EXPECT_EQ(hint("kvcrush", false), "");
  EXPECT_NE(hint("kvcrush", true).find("needs a low tier"), std::string::npos);
  EXPECT_NE(hint("mikv-h2o:representatives=kvcrush", false).find("gained little"),
            std::string::npos);
  EXPECT_EQ(hint("d2o:representatives=kvcrush", false), "") << "merging is eviction";
  EXPECT_EQ(hint("kvcrush:keep=0.25", false), "");
  EXPECT_NE(hint("kvcrush:keep=0.3", false).find("with snapkv"), std::string::npos);
  EXPECT_EQ(hint("kvcrush:base=h2o,keep=0.3", false), "");
}

TEST(Registry, EveryRowIsComplete) {
  for (const MethodRow& row : method_rows()) {
    EXPECT_GT(std::string(row.summary).size(), 8u) << row.name;
    EXPECT_FALSE(std::string(row.citation).empty()) << row.name;
    for (const ParamRow& param : row.params) {
      const auto value = canonical_value(row, param, param.fallback);
      ASSERT_TRUE(value) << value.error().message;
      EXPECT_EQ(*value, param.fallback) << "a default is written in its canonical form";
    }
  }
}

}  // namespace
}  // namespace kvkeep
