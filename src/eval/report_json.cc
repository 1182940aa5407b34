#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "eval/report.h"

namespace kvkeep {
namespace {

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

Json tiers_json(const std::vector<TierReport>& tiers) {
  Json array = Json::array();
  for (const auto& tier : tiers)
    array.push_back({{"keys", tier.layout_k}, {"values", tier.layout_v}, {"tokens", tier.tokens}});
  return array;
}

Json protocol_json(const EvalRow& row) {
  Json json = {{"ctx", row.protocol.context},
               {"exact_window", row.cache.exact_window},
               {"sinks", row.cache.sinks},
               {"bos", row.protocol.bos},
               {"seed", row.protocol.seed}};
  if (row.samples > 0) {
    json["samples"] = row.samples;
    if (row.continuation > 0)
      json["continuation"] = row.continuation;
    else
      json["question"] = row.protocol.query_aware ? "before compression" : "after compression";
  } else {
    json["step"] = row.protocol.step;
    json["windows"] = row.windows;
  }
  return json;
}

// Intervals of the first metric are plainly "low" and "high"; those of others carry its name.
Json metrics_json(const std::vector<Metric>& metrics) {
  Json object = Json::object();
  for (const auto& metric : metrics) {
    if (metric.count)
      object[metric.name] = static_cast<int64_t>(metric.value);
    else
      object[metric.name] = metric.value;
    const std::string prefix = &metric == &metrics[0] ? "" : metric.name + "_";
    const auto add = [&](const std::string& name, const auto& interval) {
      if (!interval) return;
      object[prefix + name + "low"] = interval->first;
      object[prefix + name + "high"] = interval->second;
    };
    add("", metric.interval);
    add("vs_f16_", metric.vs_f16);
  }
  return object;
}

Json cells_json(const std::vector<Cell>& cells) {
  Json array = Json::array();
  for (const auto& cell : cells) {
    Json object = Json::object();
    for (const auto& [name, value] : cell.place) object[name] = value;
    object["value"] = cell.value;
    object["n"] = cell.n;
    array.push_back(std::move(object));
  }
  return array;
}

}  // namespace

std::string json_text(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json model_json(const ModelInfo& info) {
  return {{"name", info.name},
          {"architecture", info.architecture},
          {"path", base_name(info.path)},
          {"fingerprint", fmt::format("{:016x}", info.fingerprint)},
          {"parameters", info.parameters},
          {"weight_bytes", info.weight_bytes},
          {"layers", info.layers},
          {"dim", info.dim},
          {"q_heads", info.q_heads},
          {"kv_heads", info.kv_heads},
          {"head_dim", info.head_dim},
          {"vocab", info.vocab},
          {"context", info.context}};
}

Json machine_json(const MachineInfo& info, int threads) {
  return {{"cpu", info.cpu},
          {"isa", info.isa},
          {"threads", threads > 0 ? threads : info.cores},
          {"compiler", info.compiler}};
}

Json cache_json(const CacheReport& report) {
  Json breakdown = Json::object();
  for (const auto& part : report.breakdown) breakdown[part.name] = part.bytes;
  Json json = {{"tokens", report.tokens},
               {"readable_tokens", report.readable_tokens},
               {"bytes", report.bytes},
               {"shared_bytes", report.shared_bytes},
               {"peak_bytes", report.peak_bytes},
               {"bits_per_value", report.bits_per_value},
               {"bits_per_value_marginal", report.bits_per_value_marginal},
               {"paper_bits_per_value", report.paper_bits_per_value},
               {"compression_factor", report.compression_factor},
               {"breakdown", breakdown},
               {"tiers", tiers_json(report.tiers)}};
  if (report.layers.empty()) return json;
  json["layers"] = Json::array();
  for (const auto& layer : report.layers)
    json["layers"].push_back({{"bytes", layer.bytes}, {"tiers", tiers_json(layer.tiers)}});
  return json;
}

Json eval_json(const TaskResult& result) {
  Json array = Json::array();
  for (const auto& row : result.rows) {
    array.push_back({{"plan", row.cache.plan},
                     {"preset", row.cache.preset},
                     {"task", row.task},
                     {"metrics", metrics_json(row.metrics)},
                     {"cache", cache_json(row.cache)},
                     {"protocol", protocol_json(row)},
                     {"tokens_per_second", row.tokens_per_second}});
    if (!row.cells.empty()) array.back()["cells"] = cells_json(row.cells);
    if (!row.units.empty()) array.back()["units"] = row.units;
    if (!row.nll_units.empty()) array.back()["nll_units"] = row.nll_units;
  }
  return array;
}

}  // namespace kvkeep
