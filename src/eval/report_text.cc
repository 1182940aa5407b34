#include <fmt/format.h>

#include <algorithm>

#include "eval/report.h"
#include "eval/table.h"
#include "kvkeep/plan.h"

namespace kvkeep {
namespace {

double percent(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

std::string layouts(const TierReport& tier) {
  return tier.layout_k == tier.layout_v ? tier.layout_k : tier.layout_k + "/" + tier.layout_v;
}

std::string layers_text(const std::vector<LayerReport>& layers) {
  if (layers.empty()) return "";
  Table table({"layer", "bytes", "<readable tokens by layout (keys/values)"});
  for (size_t i = 0; i < layers.size(); ++i)
    table.add({std::to_string(i), grouped(static_cast<int64_t>(layers[i].bytes)),
               tiers_text(layers[i].tiers)});
  return table.text();
}

// The row that others are compared with, or nullptr.
const EvalRow* reference(const TaskResult& result, const std::string& task) {
  const auto f16 = Plan::parse("f16");
  for (const auto& row : result.rows)
    if (f16 && row.task == task && row.cache.plan == f16->canonical()) return &row;
  return nullptr;
}

std::string metric_text(const Metric& metric) {
  if (metric.count) return grouped(static_cast<int64_t>(metric.value));
  if (metric.interval)
    return fmt::format("{:.3f} [{:.3f}, {:.3f}]", metric.value, metric.interval->first,
                       metric.interval->second);
  return fmt::format("{:.{}f}", metric.value, metric.value >= 1000 ? 0 : 4);
}

std::vector<std::string> row_cells(const EvalRow& row, const EvalRow* f16) {
  std::vector<std::string> cells = {row.cache.preset};
  for (const auto& metric : row.metrics)
    if (!metric.detail) cells.push_back(metric_text(metric));
  const auto& c = row.cache;
  cells.insert(cells.begin() + 2,
               f16 ? fmt::format("{:+.4f}", row.metrics[0].value - f16->metrics[0].value) : "-");
  for (const double x : {c.bits_per_value, c.bits_per_value_marginal, c.paper_bits_per_value})
    cells.push_back(fmt::format("{:.2f}", x));
  cells.push_back(fmt::format("{:.2f}x", c.compression_factor));
  cells.push_back(grouped(static_cast<int64_t>(c.bytes)));
  for (const int64_t n : {c.tokens, c.readable_tokens}) cells.push_back(grouped(n));
  cells.push_back(row.samples > 0 ? "-" : grouped(row.protocol.step));
  for (const int n : {c.exact_window, c.sinks}) cells.push_back(grouped(n));
  cells.push_back(fmt::format("{:.0f}", row.tokens_per_second));
  return cells;
}

// "1 window", "2 windows"
std::string counted(int n, const char* what) {
  return fmt::format("{} {}{}", grouped(n), what, n == 1 ? "" : "s");
}

// How a task came to its figures.
std::string protocol_text(const EvalRow& row) {
  const char* bos = row.protocol.bos ? " with BOS" : "";
  if (row.continuation > 0)
    return fmt::format("{} of {} tokens{}, the last {} generated; 95 % intervals",
                       counted(row.samples, "text"), row.protocol.context, bos, row.continuation);
  if (row.samples > 0)
    return fmt::format("{} of up to {} tokens{}, questions included; {}; 95 % intervals",
                       counted(row.samples, "sample"), row.protocol.context, bos,
                       row.protocol.query_aware
                           ? "a cache for each question, compressed knowing it (query-aware)"
                           : "a compression before and after each question");
  return fmt::format("{} of {} tokens{}; a compression every {}", counted(row.windows, "window"),
                     row.protocol.context, bos, counted(row.protocol.step, "token"));
}

std::string task_table(const TaskResult& result, const std::string& task) {
  const EvalRow* f16 = reference(result, task);
  std::vector<std::string> titles;
  std::vector<std::vector<std::string>> rows;
  for (const auto& row : result.rows) {
    if (row.task != task) continue;
    if (titles.empty()) {
      titles = {"<plan"};
      for (const auto& metric : row.metrics)
        if (!metric.detail) titles.push_back(metric.name);
      titles.insert(titles.begin() + 2, "vs f16");
      for (const char* title : {"bits", "marginal", "paper", "factor", "bytes", "cached",
                                "readable", "step", "window", "sinks", "tok/s"})
        titles.push_back(title);
    }
    rows.push_back(row_cells(row, f16));
  }
  Table table(titles);
  for (auto& row : rows) table.add(std::move(row));
  return table.text();
}

}  // namespace

std::string tiers_text(const std::vector<TierReport>& tiers) {
  double all = 0;
  for (const auto& tier : tiers) all += tier.tokens;
  std::string text;
  for (const auto& tier : tiers)
    text += fmt::format("{}{} {:.0f} ({:.0f} %)", text.empty() ? "" : ", ", layouts(tier),
                        tier.tokens, percent(tier.tokens, all));
  return text.empty() ? "nothing" : text;
}

std::string cache_text(const CacheReport& r, bool per_layer) {
  std::string text;
  text += fmt::format("plan      {} = {}\n", r.preset, r.plan);
  text += fmt::format("tokens    {} cached, {} readable; {} exact at the end, {} at the start\n",
                      grouped(r.tokens), grouped(r.readable_tokens), r.exact_window, r.sinks);
  text += fmt::format("layouts   {}\n", tiers_text(r.tiers));
  text += fmt::format("bytes     {} (compression factor {:.2f}; largest {}; shared {})\n",
                      grouped(static_cast<int64_t>(r.bytes)), r.compression_factor,
                      grouped(static_cast<int64_t>(r.peak_bytes)),
                      grouped(static_cast<int64_t>(r.shared_bytes)));
  text += fmt::format(
      "bits      {:.2f} per value, {:.2f} for one more sequence, {:.2f} as the "
      "paper counts\n\n",
      r.bits_per_value, r.bits_per_value_marginal, r.paper_bits_per_value);
  Table table({"<part", "bytes", "share"});
  for (const auto& part : r.breakdown)
    table.add({part.name, grouped(static_cast<int64_t>(part.bytes)),
               fmt::format("{:.1f} %", percent(static_cast<double>(part.bytes),
                                               static_cast<double>(r.bytes)))});
  text += table.text();
  if (per_layer) text += '\n' + layers_text(r.layers);
  return text;
}

std::string eval_text(const TaskResult& result) {
  std::vector<std::string> names;
  for (const auto& row : result.rows)
    if (std::find(names.begin(), names.end(), row.task) == names.end()) names.push_back(row.task);
  std::string text;
  for (const auto& name : names) {
    const auto row = std::find_if(result.rows.begin(), result.rows.end(),
                                  [&](const EvalRow& r) { return r.task == name; });
    text += fmt::format("{}task {}: {}\n", text.empty() ? "" : "\n", name, protocol_text(*row));
    text += task_table(result, name);
  }
  return text;
}

}  // namespace kvkeep
