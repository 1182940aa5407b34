#include "eval/bench/bars.h"

#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "eval/table.h"
#include "kernels/isa.h"

namespace kvkeep::bench {
namespace {

struct LayoutBar {
  LayoutId id;
  double fraction_1, fraction_2;  // of the read loop, with one and two threads
  double speed_up;                // over f16; 0: none asked
};
constexpr LayoutBar kLayoutBars[] = {{LayoutId::f16, 0.75, 0.80, 0},
                                     {LayoutId::u4, 0.65, 0.75, 3.0},
                                     {LayoutId::u3, 0.45, 0.70, 3.0},
                                     {LayoutId::u2, 0.38, 0.60, 3.5}};
constexpr double kMixedPairs = 1.10;  // time over the mean of the two symmetric pairs
constexpr double kNarrow = 2.5;       // time with AVX2 over that with AVX-512

bool same_setting(const AttentionRow& a, const AttentionRow& b) {
  return a.context == b.context && a.threads == b.threads && a.head_dim == b.head_dim &&
         a.gqa_ratio == b.gqa_ratio && a.isa == b.isa;
}

void add_layout_bars(const AttentionRow& row, std::vector<Bar>* bars) {
  for (const LayoutBar& bar : kLayoutBars) {
    if (row.layouts.k.id != bar.id || row.layouts.v.id != bar.id) continue;
    const std::string where = fmt::format("{}, {} tokens: ", row.layouts.name(), row.context);
    bars->push_back({where + "share of the read loop", row.threads,
                     row.threads == 1 ? bar.fraction_1 : bar.fraction_2,
                     row.fraction_of_read.median});
    if (bar.speed_up > 0)
      bars->push_back({where + "times as fast as f16", row.threads, bar.speed_up,
                       row.speed_up_over_f16.median});
  }
}

void add_mixed_bar(const AttentionRow& row, const std::vector<AttentionRow>& rows,
                   std::vector<Bar>* bars) {
  const LayoutPair& pair = row.layouts;
  double ns = 0;
  int found = 0;
  for (const AttentionRow& other : rows)
    if (same_setting(row, other) && (other.layouts == LayoutPair{pair.k, pair.k} ||
                                     other.layouts == LayoutPair{pair.v, pair.v}))
      ns += other.ns.median, ++found;
  if (pair.k == pair.v || found != 2) return;
  bars->push_back(
      {fmt::format("{}, {} tokens: time over the mean of the pure pairs", pair.name(), row.context),
       row.threads, kMixedPairs, row.ns.median / (ns / 2), true});
}

// Of an AVX2 row: the same read with the selected instruction set, if that is AVX-512.
void add_narrow_bar(const AttentionRow& row, const std::vector<AttentionRow>& rows,
                    std::vector<Bar>* bars) {
  const std::string wide = kernels().name;
  if (row.isa != "avx2" || !wide.starts_with("avx512")) return;
  AttentionRow like = row;
  like.isa = wide;
  for (const AttentionRow& other : rows)
    if (same_setting(like, other) && other.layouts == row.layouts)
      bars->push_back({fmt::format("{}, {} tokens: time with {} over {}", row.layouts.name(),
                                   row.context, row.isa, wide),
                       row.threads, kNarrow, row.ns.median / other.ns.median, true});
}

}  // namespace

std::vector<Bar> attention_bars(const std::vector<AttentionRow>& rows) {
  std::vector<Bar> bars;
  for (const AttentionRow& row : rows) {
    if (row.head_dim != 128 || row.gqa_ratio != 4 || row.threads > 2 ||
        row.kv_bytes < 4 * last_level_cache_bytes())
      continue;
    add_narrow_bar(row, rows, &bars);
    if (row.isa != kernels().name) continue;
    add_layout_bars(row, &bars);
    add_mixed_bar(row, rows, &bars);
  }
  return bars;
}

Json bars_json(const std::vector<Bar>& bars) {
  Json array = Json::array();
  for (const Bar& bar : bars)
    array.push_back({{"what", bar.what},
                     {"threads", bar.threads},
                     {bar.at_most ? "at_most" : "at_least", bar.wanted},
                     {"measured", bar.measured},
                     {"met", bar.met()}});
  return array;
}

std::string bars_text(const std::vector<Bar>& bars) {
  if (bars.empty()) return "";
  Table table({"<bar", "threads", "wanted", "measured", "<"});
  for (const Bar& bar : bars)
    table.add({bar.what, std::to_string(bar.threads),
               fmt::format("{} {:.2f}", bar.at_most ? "<=" : ">=", bar.wanted),
               fmt::format("{:.2f}", bar.measured), bar.met() ? "met" : "missed"});
  return "\n" + table.text();
}

size_t last_level_cache_bytes() {
  size_t most = 0;
  for (int i = 0; i < 8; ++i) {
    std::ifstream file(fmt::format("/sys/devices/system/cpu/cpu0/cache/index{}/size", i));
    std::string text;  // "32768K"
    if (!(file >> text)) continue;
    size_t bytes = std::strtoull(text.c_str(), nullptr, 10);
    if (text.ends_with('K')) bytes <<= 10;
    if (text.ends_with('M')) bytes <<= 20;
    most = std::max(most, bytes);
  }
  return most > 0 ? most : size_t{32} << 20;
}

}  // namespace kvkeep::bench
