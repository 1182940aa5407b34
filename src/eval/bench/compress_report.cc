#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "eval/bench/compress.h"
#include "eval/bench/spread_report.h"
#include "eval/table.h"

namespace kvkeep::bench {
namespace {

struct EncodeBar {
  LayoutId id;
  double g_values_per_s;
};
constexpr EncodeBar kEncodeBars[] = {{LayoutId::u4, 1.0}, {LayoutId::u3, 0.7}, {LayoutId::u2, 0.7}};
constexpr double kPromptBar = 0.05, kSliceBar = 0.5, kScoreBar = 0.05;
constexpr double kCrushMs = 1.0, kCrushShare = 0.005;

Json layouts_json(const LayoutPair& pair) {
  return {{"layout_k", layout_name(pair.k)}, {"layout_v", layout_name(pair.v)}};
}

}  // namespace

std::vector<Bar> compress_bars(const CompressResult& result) {
  std::vector<Bar> bars;
  for (const EncodeRow& row : result.encode)
    for (const EncodeBar& bar : kEncodeBars)
      if (row.layouts.k.id == bar.id && row.layouts.v.id == bar.id)
        bars.push_back(
            {fmt::format("{}, {} rows at once: G values/s encoded", row.layouts.name(), row.rows),
             1, bar.g_values_per_s, row.g_values_per_s.median});
  for (const PromptRow& row : result.prompt)
    bars.push_back({fmt::format("{}: share of a prompt of {} tokens", row.plan, row.tokens), 1,
                    kPromptBar, row.share.median, true});
  for (const SliceRow& row : result.slices)
    if (!row.layouts.exact())
      bars.push_back({fmt::format("{}, {} queries: rate over f16", row.layouts.name(), row.queries),
                      row.threads, kSliceBar, row.of_f16.median});
  for (const ScoreRow& row : result.scores)
    bars.push_back({fmt::format("{}, {} at {} tokens: extra time for scores", row.plan, row.phase,
                                row.context),
                    row.threads, kScoreBar, row.extra.median, true});
  for (const CrushRow& row : result.crush)
    if (row.heads == 32)
      bars.push_back({fmt::format("representatives of {} tokens, 32 heads: ms", row.tokens), 1,
                      kCrushMs, 1e3 * row.seconds.median, true});
  for (const CrushStepRow& row : result.crush_steps)
    bars.push_back({fmt::format("{} at {} tokens: % of a decode step", row.plan, row.context), 1,
                    100 * kCrushShare, 100 * row.of_step.median, true});
  return bars;
}

Json compress_json(const CompressResult& result) {
  Json encode = Json::array(), prompt = Json::array(), slices = Json::array(),
       scores = Json::array(), reads = Json::array(), crush = Json::array(), steps = Json::array();
  for (const EncodeRow& row : result.encode) {
    Json json = layouts_json(row.layouts);
    json["rows"] = row.rows;
    add_spread(&json, "g_values_per_s", row.g_values_per_s);
    encode.push_back(std::move(json));
  }
  for (const PromptRow& row : result.prompt) {
    Json json = {{"plan", row.plan}, {"tokens", row.tokens}};
    add_spread(&json, "share", row.share);
    add_spread(&json, "cpu_seconds", row.seconds);
    prompt.push_back(std::move(json));
  }
  for (const SliceRow& row : result.slices) {
    Json json = layouts_json(row.layouts);
    json.update({{"queries", row.queries}, {"past", row.past}, {"threads", row.threads}});
    add_spread(&json, "g_pairs_per_s", row.g_pairs_per_s);
    add_spread(&json, "of_f16", row.of_f16);
    slices.push_back(std::move(json));
  }
  for (const ScoreRow& row : result.scores) {
    Json json = {{"plan", row.plan},
                 {"phase", row.phase},
                 {"context", row.context},
                 {"threads", row.threads}};
    add_spread(&json, "extra", row.extra);
    scores.push_back(std::move(json));
  }
  for (const ChunkReadRow& row : result.reads) {
    Json json = {{"plan", row.plan}, {"context", row.context}, {"threads", row.threads}};
    add_spread(&json, "unpack_seconds", row.unpack);
    add_spread(&json, "attend_seconds", row.attend);
    add_spread(&json, "of_f16", row.of_f16);
    add_spread(&json, "of_u4", row.of_u4);
    reads.push_back(std::move(json));
  }
  for (const CrushRow& row : result.crush) {
    Json json = {{"tokens", row.tokens}, {"heads", row.heads}};
    add_spread(&json, "seconds", row.seconds);
    crush.push_back(std::move(json));
  }
  for (const CrushStepRow& row : result.crush_steps) {
    Json json = {{"plan", row.plan}, {"context", row.context}};
    add_spread(&json, "share", row.share);
    add_spread(&json, "of_step", row.of_step);
    steps.push_back(std::move(json));
  }
  return {{"encode", encode}, {"prompt", prompt}, {"slices", slices},    {"scores", scores},
          {"reads", reads},   {"crush", crush},   {"crush_steps", steps}};
}

std::string compress_text(const CompressResult& result) {
  Table encode({"<layout", "rows at once", "G values/s of one core (min-max)"});
  for (const EncodeRow& row : result.encode)
    encode.add({row.layouts.name(), grouped(row.rows), range(row.g_values_per_s, 3)});
  Table prompt({"<plan", "tokens", "% of the prompt's time (min-max)", "seconds"});
  for (const PromptRow& row : result.prompt)
    prompt.add({row.plan, grouped(row.tokens), range(row.share, 1, 100),
                fmt::format("{:.3f}", row.seconds.median)});
  Table slices({"<past", "queries", "tokens", "G pairs/s", "of f16 (min-max)"});
  for (const SliceRow& row : result.slices)
    slices.add({row.layouts.name(), grouped(row.queries), grouped(row.past),
                fmt::format("{:.3f}", row.g_pairs_per_s.median), range(row.of_f16, 2)});
  Table scores({"<plan", "<phase", "context", "% extra time (min-max)"});
  for (const ScoreRow& row : result.scores)
    scores.add({row.plan, row.phase, grouped(row.context), range(row.extra, 1, 100)});
  Table reads(
      {"<plan", "context", "ms unpacking", "ms attention", "of f16 (min-max)", "of u4 (min-max)"});
  for (const ChunkReadRow& row : result.reads)
    reads.add({row.plan, grouped(row.context), fmt::format("{:.2f}", 1e3 * row.unpack.median),
               fmt::format("{:.2f}", 1e3 * row.attend.median), range(row.of_f16, 1),
               range(row.of_u4, 1)});
  Table crush({"<choice of representatives", "heads", "ms of one core (min-max)"});
  for (const CrushRow& row : result.crush)
    crush.add(
        {grouped(row.tokens) + " tokens", std::to_string(row.heads), range(row.seconds, 3, 1e3)});
  Table steps({"<plan", "context", "% of a step's attention (min-max)", "% of a step (min-max)"});
  for (const CrushStepRow& row : result.crush_steps)
    steps.add(
        {row.plan, grouped(row.context), range(row.share, 2, 100), range(row.of_step, 2, 100)});
  return "rows that go down a tier\n" + encode.text() + "\nshare of compression in a prompt\n" +
         prompt.text() + "\nslices of a prompt over a past in memory\n" + slices.text() +
         "\nscores from a read\n" + scores.text() +
         "\none token's read of one layer, 8 kv_heads of 128\n" + reads.text() +
         "\nrepresentatives\n" + crush.text() + "\n" + steps.text();
}

}  // namespace kvkeep::bench
