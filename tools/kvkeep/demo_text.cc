#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "demo.h"
#include "eval/table.h"

namespace kvkeep {
namespace {

constexpr double kComparable = 0.15;  // bytes that differ by less are called about the same

std::string table_text(const DemoResult& result) {
  Table table({"<plan", "right", "<answer", "bytes", "bits", "factor", "cached", "readable",
               "window", "sinks", "ppl", "tok/s"});
  for (const auto& row : result.rows) {
    const auto& c = row.cache;
    table.add({row.plan.typed(), fmt::format("{}/{}", row.right, result.facts), row.example,
               grouped(static_cast<int64_t>(c.bytes)), fmt::format("{:.2f}", c.bits_per_value),
               fmt::format("{:.2f}x", c.compression_factor), grouped(c.tokens),
               grouped(c.readable_tokens), std::to_string(c.exact_window), std::to_string(c.sinks),
               row.ppl ? fmt::format("{:.2f}", *row.ppl) : "-",
               fmt::format("{:.0f}", row.tokens_per_second())});
  }
  return table.text();
}

// "mikv 9, rtn2 3" for the rows a condition picks.
template <class Condition>
std::string list(const DemoResult& result, const Condition& condition) {
  std::string text;
  for (size_t i = 1; i < result.rows.size(); ++i)
    if (condition(result.rows[i]))
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", result.rows[i].plan.typed(),
                          result.rows[i].right);
  return text.empty() ? "none" : text;
}

// The row that answered most among those of one kind with about the bytes of `like`.
const DemoRow* best(const DemoResult& result, const DemoRow& like, bool keeps_all) {
  const DemoRow* found = nullptr;
  const auto bytes = static_cast<double>(like.cache.bytes);
  for (size_t i = 1; i < result.rows.size(); ++i) {
    const DemoRow& row = result.rows[i];
    const double off = std::abs(static_cast<double>(row.cache.bytes) / bytes - 1);
    if (row.keeps_all() != keeps_all || off > kComparable) continue;
    if (!found || row.right > found->right) found = &row;
  }
  return found;
}

const DemoRow* find_row(const DemoResult& result, const std::string& typed) {
  for (const auto& row : result.rows)
    if (row.plan.typed() == typed) return &row;
  return nullptr;
}

std::string comparison_text(const DemoResult& result) {
  const DemoRow* mikv = find_row(result, "mikv");
  if (!mikv) return "";
  const DemoRow* keep = best(result, *mikv, true);
  const DemoRow* drop = best(result, *mikv, false);
  if (!keep || !drop) return "";
  return fmt::format(
      "At about the bytes of mikv (within {:.0f} %) the best plan that keeps every token is {} "
      "with "
      "{} of {},\nthe best that drops tokens is {} with {} of {}.\n",
      100 * kComparable, keep->plan.typed(), keep->right, result.facts, drop->plan.typed(),
      drop->right, result.facts);
}

std::string perplexity_text(const DemoResult& result) {
  const auto& exact = result.rows[0].ppl;
  std::string text;
  for (size_t i = 1; i < result.rows.size(); ++i)
    if (const auto& row = result.rows[i]; exact && row.ppl)
      text += fmt::format("{}{} {:+.1f} %", text.empty() ? "" : ", ", row.plan.typed(),
                          100 * (*row.ppl / *exact - 1));
  return text.empty() ? "" : "Perplexity against f16: " + text + ".\n";
}

std::string words(const DemoResult& result) {
  std::string text = fmt::format(
      "With the exact cache the model finds {} of {} facts: what it can "
      "do at all.\n",
      result.rows[0].right, result.facts);
  text += fmt::format("Plans that keep every token readable find: {}.\n",
                      list(result, [](const DemoRow& row) { return row.keeps_all(); }));
  text += fmt::format("Plans that drop tokens find: {}.\n",
                      list(result, [](const DemoRow& row) { return !row.keeps_all(); }));
  return text + comparison_text(result) + perplexity_text(result);
}

Json row_json(const DemoRow& row) {
  Json json = {{"plan", row.plan.canonical()},
               {"preset", row.plan.typed()},
               {"right", row.right},
               {"example_answer", row.example},
               {"cache", cache_json(row.cache)},
               {"exact_window", row.cache.exact_window},
               {"sinks", row.cache.sinks},
               {"decode_tokens_per_second", row.tokens_per_second()}};
  if (row.ppl)
    json["ppl"] = *row.ppl;
  else
    json["ppl"] = nullptr;
  return json;
}

}  // namespace

std::string demo_text(const DemoResult& result) {
  std::string text = fmt::format(
      "A fact is hidden at {:.0f} % of a book passage of {} tokens; the cache is compressed; "
      "then the\nfact is asked for. {} facts in {} passages.\n\n  hidden  {}\n  asked   {}\n  "
      "answer  {}\n\n",
      100 * result.depth, grouped(result.passage_tokens), result.facts, result.facts,
      result.first.fact.substr(1), result.first.question.substr(1), result.first.answer);
  if (result.facts == 0) return text + "Stopped before the first answers of all plans.\n";
  text += table_text(result);
  if (result.ppl_windows > 0)
    text += fmt::format(
        "ppl: {} window(s) of {} tokens of the book, a compression every {} "
        "tokens. bits: per cached value, everything counted.\n",
        result.ppl_windows, result.ppl_context, result.ppl_step);
  return text + "\n" + words(result);
}

Json demo_json(const DemoResult& result) {
  Json json = {
      {"facts", result.facts},
      {"passage_tokens", result.passage_tokens},
      {"depth", result.depth},
      {"hidden", result.first.fact},
      {"question", result.first.question},
      {"answer", result.first.answer},
      {"ppl_protocol",
       {{"ctx", result.ppl_context}, {"step", result.ppl_step}, {"windows", result.ppl_windows}}},
      {"results", Json::array()}};
  if (result.facts > 0)
    for (const auto& row : result.rows) json["results"].push_back(row_json(row));
  return json;
}

}  // namespace kvkeep
