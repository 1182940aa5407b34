#include "eval/html/html_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/check.h"
#include "eval/html/assets.h"
#include "eval/task.h"
#include "kvkeep/version.h"

namespace kvkeep {
namespace {

// A row of a map as text, a character a token: the level's digit, '.' where it is evicted.
std::string row_text(std::span<const int8_t> row) {
  std::string text;
  for (const int8_t level : row)
    text += level == TierMap::kEvicted ? '.' : static_cast<char>('0' + level);
  return text;
}

std::string level_name(const TierReport& level) {
  return level.layout_k == level.layout_v ? level.layout_k : level.layout_k + "/" + level.layout_v;
}

Json tier_map_json(const TierMap& map) {
  Json levels = Json::array(), rows = Json::array();
  for (const auto& level : map.levels) levels.push_back(level_name(level));
  for (int layer = 0; layer < map.layers; ++layer) {
    rows.push_back(Json::array());
    for (int head = 0; head < map.kv_heads; ++head)
      rows.back().push_back(row_text(map.row(layer, head)));
  }
  return {{"levels", levels}, {"low_level", map.low_level}, {"rows", rows}};
}

// Replaces each {{name}} of the template, once; what is put in is not looked at again.
std::string fill(std::string_view page,
                 const std::vector<std::pair<std::string_view, std::string>>& parts) {
  std::string text;
  while (true) {
    const size_t open = page.find("{{"), close = page.find("}}", open);
    text += page.substr(0, open);
    if (open == std::string_view::npos || close == std::string_view::npos) return text;
    const auto name = page.substr(open + 2, close - open - 2);
    const auto part = std::find_if(parts.begin(), parts.end(),
                                   [&](const auto& entry) { return entry.first == name; });
    KVKEEP_CHECK(part != parts.end(), "page.html names {}", name);
    text += part->second;
    page.remove_prefix(close + 2);
  }
}

}  // namespace

std::string script_json(const Json& json) {
  const std::string text = json.dump(-1, ' ', true, Json::error_handler_t::replace);
  std::string safe;
  for (const char c : text) {
    if (c == '<' || c == '>' || c == '&')
      safe += c == '<' ? "\\u003c" : c == '>' ? "\\u003e" : "\\u0026";
    else
      safe += c;
  }
  return safe;
}

std::string escape_html(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    if (c == '<')
      safe += "&lt;";
    else if (c == '>')
      safe += "&gt;";
    else if (c == '&')
      safe += "&amp;";
    else
      safe += c;
  }
  return safe;
}

Json prompt_map_json(const PromptMap& map) {
  Json json = {{"missing", map.missing},
               {"tokens", map.tokens},
               {"fact", {map.fact_begin, map.fact_end}},
               {"plans", Json::array()}};
  for (const auto& entry : map.plans) {
    Json plan = {{"preset", entry.preset}, {"plan", entry.plan}};
    plan.update(tier_map_json(entry.tiers));
    json["plans"].push_back(std::move(plan));
  }
  return json;
}

std::string html_page(const HtmlReport& report) {
  Json summaries = Json::object();
  for (const auto& task : tasks()) summaries[task.name] = task.summary;
  const Json data = {{"version", kVersion},
                     {"date", report.date},
                     {"tasks", summaries},
                     {"eval", report.eval},
                     {"prompt", prompt_map_json(report.prompt)}};
  return fill(kPageHtml, {{"style", std::string(kPageStyle)},
                          {"tables", escape_html(report.tables)},
                          {"data", script_json(data)},
                          {"chart_library", std::string(kChartLibrary)},
                          {"page", std::string(kPageScript)},
                          {"charts", std::string(kChartScript)},
                          {"tier_map", std::string(kTierMapScript)}});
}

}  // namespace kvkeep
