#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "eval/bench/contender.h"
#include "eval/bench/decode.h"
#include "eval/bench/spread_report.h"
#include "eval/table.h"

namespace kvkeep::bench {
namespace {

constexpr double kRivalBar = 10, kStealBar = 2;
constexpr const char* kBarRival = "llama.cpp";
constexpr int kRivalDepth = 16384;

std::string range(const std::optional<Spread>& s, int digits) {
  return s ? bench::range(*s, digits) : std::string();
}

std::string times_of(const DecodeRow& row, const std::string& engine) {
  for (const DecodeRow::Over& over : row.over_rivals)
    if (over.engine == engine) return range(over.times, 1);
  return {};
}

}  // namespace

std::vector<Bar> decode_bars(const DecodeResult& result) {
  std::vector<Bar> bars;
  for (const DecodeRow& row : result.rows) {
    const bool four_bits = row.mode == "q4_0" || row.mode == "rtn4";
    for (const DecodeRow::Over& over : row.over_rivals)
      if (four_bits && row.depth == kRivalDepth && over.engine == kBarRival)
        bars.push_back({fmt::format("{}, {} tokens: attention against {}, {}", row.mode, row.depth,
                                    over.engine, over.mode),
                        row.threads, kRivalBar, over.times.median});
    if (row.engine == kOwnEngine && row.slow_down && row.threads == 2)
      bars.push_back(
          {fmt::format("{}, {} tokens: time with one core taken away", row.mode, row.depth),
           row.threads, kStealBar, row.slow_down->median, true});
  }
  return bars;
}

Json rivals_json(const DecodeResult& result) {
  Json rivals = Json::array();
  for (const RivalInfo& rival : result.rivals)
    rivals.push_back({{"command", rival.command},
                      {"engine", rival.engine},
                      {"version", rival.version},
                      {"system", rival.system},
                      {"best_mode", rival.best_mode}});
  return rivals;
}

Json decode_json(const DecodeResult& result) {
  Json rows = Json::array();
  for (const DecodeRow& row : result.rows) {
    Json json = {{"engine", row.engine},   {"mode", row.mode},
                 {"depth", row.depth},     {"last_depth", row.last_depth},
                 {"threads", row.threads}, {"cache_bytes", row.cache_bytes}};
    add_spread(&json, "ms_per_token", row.ms_per_token);
    add_spread(&json, "tokens_per_s", row.tokens_per_s);
    if (row.ns_per_kv_token) add_spread(&json, "ns_per_kv_token", *row.ns_per_kv_token);
    for (const DecodeRow::Over& over : row.over_rivals) {
      Json times = {{"engine", over.engine}, {"mode", over.mode}};
      add_spread(&times, "times", over.times);
      json["rivals"].push_back(std::move(times));
    }
    if (row.slow_down) add_spread(&json, "slow_down", *row.slow_down);
    rows.push_back(std::move(json));
  }
  return rows;
}

std::string decode_text(const DecodeResult& result) {
  const bool steal = !result.rows.empty() && result.rows[0].slow_down;
  std::vector<std::string> titles = {"<engine",    "<mode",        "depth", "tokens/s (min-max)",
                                     "ms a token", "ns a kv token"};
  for (const RivalInfo& rival : result.rivals) titles.push_back("x " + rival.engine);
  if (steal) titles.push_back("x with a core less");
  Table table(titles);
  for (const DecodeRow& row : result.rows) {
    std::vector<std::string> cells = {row.engine,
                                      row.mode,
                                      grouped(row.depth),
                                      range(row.tokens_per_s, 1),
                                      fmt::format("{:.2f}", row.ms_per_token.median),
                                      range(row.ns_per_kv_token, 1)};
    for (const RivalInfo& rival : result.rivals) cells.push_back(times_of(row, rival.engine));
    if (steal) cells.push_back(range(row.slow_down, 2));
    table.add(std::move(cells));
  }
  std::string text = table.text();
  for (const RivalInfo& rival : result.rivals)
    text += fmt::format("\n{} ({}): the best mode at the greatest depth is {}\n", rival.engine,
                        rival.version, rival.best_mode);
  if (!result.rivals.empty())
    text += "x: time that the cache adds to a token, against the rival's best mode there\n";
  return text;
}

}  // namespace kvkeep::bench
