// What the page is made of; how it looks is tests/html's business.
#include "eval/html/html_report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "eval/html/assets.h"
#include "kvkeep/session.h"

namespace kvkeep {
namespace {

const Model& embedded() {
  static const Model model = *Model::load(KVKEEP_SOURCE_DIR "/models/kvkeep-5m-f16.gguf");
  return model;
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

// The JSON block of a page.
Json data_of(const std::string& page) {
  const std::string open = R"(<script type="application/json" id="data">)";
  const size_t begin = page.find(open) + open.size();
  return Json::parse(page.substr(begin, page.find("</script>", begin) - begin));
}

constexpr const char* kHostile = "</script><script>alert(1)</script><!--<script>{{data}}&amp;'\"";

TEST(HtmlReport, NothingFromOutsideBecomesMarkup) {
  const Json eval = {{"command", kHostile}, {"results", Json::array()}};
  PromptMap map;
  map.missing = kHostile;
  map.tokens = {kHostile, "\xff\xe2\x80"};  // and bytes that are no UTF-8
  const std::string page = html_page({eval, map, kHostile, kHostile});
  const std::string plain = html_page({Json::object(), {}, "", ""});
  for (const char* part : {"<script", "</script", "<!--", "</pre"})
    EXPECT_EQ(count(page, part), count(plain, part)) << part;
  EXPECT_EQ(count(page, "alert(1)"), count(page, "script\\u003ealert(1)") + 1) << "the plain table";
  const Json data = data_of(page);
  EXPECT_EQ(data["eval"]["command"], kHostile);
  EXPECT_EQ(data["date"], kHostile);
  EXPECT_EQ(data["prompt"]["missing"], kHostile);
  EXPECT_EQ(data["prompt"]["tokens"][0], kHostile);
}

TEST(HtmlReport, EmbeddedPartsStayInTheirElements) {
  for (const auto part : {kPageScript, kChartScript, kTierMapScript, kChartLibrary}) {
    EXPECT_EQ(part.find("</script"), std::string_view::npos);
    EXPECT_EQ(part.find("<!--"), std::string_view::npos);
  }
  EXPECT_EQ(kPageStyle.find("</style"), std::string_view::npos);
  const std::string page = html_page({Json::object(), {}, "", ""});
  for (const char* part : {"{{style}}", "{{tables}}", "{{data}}", "{{chart_library}}", "{{page}}"})
    EXPECT_EQ(page.find(part), std::string::npos) << part;
  EXPECT_TRUE(page.ends_with("</html>\n"));
}

TEST(HtmlReport, LoadsNothing) {
  for (const auto part : {kPageHtml, kPageStyle, kPageScript, kChartScript, kTierMapScript})
    for (const char* word : {"src=", "url(", "@import", "fetch(", "http://", "https://"})
      EXPECT_EQ(part.find(word), std::string_view::npos) << word;
  EXPECT_NE(kPageHtml.find("default-src 'none'"), std::string_view::npos);
}

TEST(HtmlReport, TheLicenceOfTheChartLibraryStaysInThePage) {
  if (kChartLibrary.empty()) GTEST_SKIP() << "built without Chart.js (libjs-chart.js)";
  const std::string page = html_page({Json::object(), {}, "", ""});
  EXPECT_NE(page.find("Chart.js v"), std::string::npos);
  EXPECT_NE(page.find("Released under the MIT License"), std::string::npos);
  EXPECT_NE(page.find("The above copyright notice and this permission notice"), std::string::npos);
}

TEST(HtmlReport, MapsAreTextARowAHead) {
  PromptMap map;
  map.tokens = {"a", "b", "c"};
  map.fact_begin = 1;
  map.fact_end = 2;
  map.plans.push_back(
      {"p", "plan", {1, 2, 3, {{"f16", "f16", 1}, {"u2g32", "u4g32", 1}}, 1, {0, 1, -1, 1, 1, 0}}});
  const Json json = prompt_map_json(map);
  EXPECT_EQ(json["fact"], Json({1, 2}));
  EXPECT_EQ(json["plans"][0]["levels"], Json({"f16", "u2g32/u4g32"}));
  EXPECT_EQ(json["plans"][0]["low_level"], 1);
  EXPECT_EQ(json["plans"][0]["rows"], Json::parse(R"([["01.", "110"]])"));
}

// Random letters and a full stop every twelve words: a text of any length.
std::string prose() {
  std::string text;
  for (int i = 0; i < 1200; ++i) text += i % 12 == 11 ? "house. The" : " small";
  return text;
}

TEST(PromptMap, MarksThePassKeysSentenceInTheTextTheModelRead) {
  const std::vector<Plan> plans = {*Plan::parse("f16"), *Plan::parse("h2o")};
  for (const std::string& text : {prose(), std::string("too short")}) {
    TaskOptions options;
    options.context = 256;
    options.threads = 1;
    const auto map = map_prompt({embedded(), plans, text, options, {}});
    ASSERT_TRUE(map);
    ASSERT_EQ(map->missing, "");
    EXPECT_LE(map->tokens.size(), 256u);
    EXPECT_GT(map->tokens.size(), 180u);
    std::string fact;
    for (int i = map->fact_begin; i < map->fact_end; ++i)
      fact += map->tokens[static_cast<size_t>(i)];
    EXPECT_NE(fact.find("The pass key is <"), std::string::npos) << fact;
    EXPECT_LT(fact.size(), 80u);
    ASSERT_EQ(map->plans.size(), 2u);
    EXPECT_EQ(map->plans[1].preset, "h2o");
    EXPECT_EQ(map->plans[1].tiers.tokens, static_cast<int>(map->tokens.size()));
  }
}

TEST(PromptMap, SaysWhyThereIsNone) {
  const std::vector<Plan> plans = {*Plan::parse("f16")};
  TaskOptions options;
  options.threads = 1;
  options.context = 8;
  const auto tiny = map_prompt({embedded(), plans, "short", options, {}});
  ASSERT_TRUE(tiny);
  EXPECT_NE(tiny->missing.find("8 tokens"), std::string::npos) << tiny->missing;
  options.context = 2048;
  const auto stopped =
      map_prompt({embedded(), plans, prose(), options, [](double, double) { return false; }});
  ASSERT_TRUE(stopped);
  EXPECT_EQ(stopped->missing, "the run was stopped");
}

}  // namespace
}  // namespace kvkeep
