// kvkeep doctor: what this machine and this model will really use.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/fail.h"
#include "command.h"
#include "eval/measure.h"
#include "eval/part_of.h"
#include "eval/report.h"
#include "eval/table.h"
#include "interrupt.h"
#include "kvkeep/methods.h"
#include "kvkeep/version.h"
#include "progress.h"

namespace kvkeep {
namespace {

constexpr int kMeasuredTokens = 512;
constexpr int64_t kSmallModel = 200'000'000;  // parameters; larger models measure only when asked

struct DoctorOptions {
  CommonOptions common;
  int measure = -1;  // tokens; 0: nothing is measured
};

// One preset on this model: its cache after the measured tokens, or why it cannot run here.
struct PresetBytes {
  std::string name, problem;
  std::optional<CacheReport> cache;
  double bytes_per_token() const {
    return static_cast<double>(cache->bytes) / static_cast<double>(cache->tokens);
  }
  // What all sequences of the model share, such as calibrations, does not grow with a context.
  double bytes_at(int context) const {
    const auto shared = static_cast<double>(cache->shared_bytes);
    const double own = static_cast<double>(cache->bytes) - shared;
    return shared + own / static_cast<double>(cache->tokens) * context;
  }
};

double f16_bytes_per_token(const ModelInfo& info) {
  return 4.0 * info.layers * info.kv_heads * info.head_dim;
}

int measured_tokens(const DoctorOptions& options, const ModelInfo& info) {
  const int wanted = options.measure >= 0             ? options.measure
                     : info.parameters <= kSmallModel ? kMeasuredTokens
                                                      : 0;
  return std::min(wanted, info.context);
}

// Every preset in turn; stops early, with what there is, on Ctrl-C.
Result<std::vector<PresetBytes>> measure_presets(const DoctorOptions& options, const Model& model,
                                                 int n) {
  std::vector<PresetBytes> rows;
  if (n == 0) return rows;
  const auto tokens = random_tokens(model.info().vocab, n, options.common.seed);
  Progress progress("measuring presets");
  const ProgressFn fn = progress.fn();
  for (const auto& preset : presets()) {
    const auto plan = Plan::parse(preset.name);
    if (!plan) return tl::unexpected(plan.error());
    const auto cache = measure_cache(
        model, *plan, tokens, {options.common.threads},
        unit_of(fn, static_cast<double>(rows.size()), static_cast<double>(presets().size())));
    if (!cache && cache.error().code == ErrorCode::cancelled) break;
    if (!cache && cache.error().code == ErrorCode::failed) return tl::unexpected(cache.error());
    rows.push_back({preset.name, cache ? "" : cache.error().message, std::nullopt});
    if (cache) rows.back().cache = *cache;
  }
  return rows;
}

Json doctor_json(const DoctorOptions& options, const Model& model, const MachineInfo& machine,
                 int context, const std::vector<PresetBytes>& rows) {
  Json json = {{"schema", "kvkeep.doctor/1"},
               {"version", kVersion},
               {"interrupted", interrupted()},
               {"model", model_json(model.info())},
               {"machine", machine_json(machine, options.common.threads)}};
  json["machine"].update(Json{{"cores", machine.cores},
                              {"isas", machine.isas},
                              {"isa_asked", machine.isa_asked},
                              {"memory_bytes", machine.memory},
                              {"memory_available_bytes", machine.memory_available},
                              {"huge_pages", machine.huge_pages}});
  json["context"] = context;
  json["f16_bytes_per_token"] = f16_bytes_per_token(model.info());
  json["presets"] = Json::array();
  for (const auto& row : rows) {
    Json entry = {{"name", row.name}};
    if (row.cache) {
      entry["measured_tokens"] = row.cache->tokens;
      entry["bytes_per_token"] = row.bytes_per_token();
      entry["bits_per_value"] = row.cache->bits_per_value;
      entry["estimated_bytes_at_context"] = row.bytes_at(context);
    } else {
      entry["problem"] = row.problem;
    }
    json["presets"].push_back(entry);
  }
  return json;
}

std::string machine_text(const MachineInfo& machine, int threads) {
  std::string isas;
  for (const auto& isa : machine.isas) isas += (isas.empty() ? "" : ", ") + isa;
  std::string text = fmt::format("kvkeep      {}, built with {}\n", kVersion, machine.compiler);
  text += fmt::format("processor   {}; {} cores usable, {} threads\n", machine.cpu, machine.cores,
                      threads > 0 ? threads : machine.cores);
  text += fmt::format("kernels     {} (can run here: {}; KVKEEP_ISA {})\n", machine.isa, isas,
                      machine.isa_asked.empty() ? "not set" : "= " + machine.isa_asked);
  text +=
      fmt::format("memory      {}, {} available; transparent huge pages: {}\n",
                  human_bytes(static_cast<double>(machine.memory)),
                  human_bytes(static_cast<double>(machine.memory_available)), machine.huge_pages);
  return text;
}

std::string model_text(const ModelInfo& info, int context) {
  std::string text = fmt::format("model       {} ({}, {}), {} parameters, {} of weights\n",
                                 info.name, info.architecture, info.path, grouped(info.parameters),
                                 human_bytes(static_cast<double>(info.weight_bytes)));
  text +=
      fmt::format("            {} layers, {} q heads on {} kv heads of {}; fingerprint {:016x}\n",
                  info.layers, info.q_heads, info.kv_heads, info.head_dim, info.fingerprint);
  const double bytes = f16_bytes_per_token(info);
  text += fmt::format("f16 cache   {} a token, {} at {} tokens (computed)\n", human_bytes(bytes),
                      human_bytes(bytes * context), grouped(context));
  return text;
}

std::string presets_text(const std::vector<PresetBytes>& rows, int measured, int context) {
  if (measured == 0) return "presets     not measured; --measure N measures them on N tokens\n";
  std::string text = fmt::format(
      "\npresets, measured on a cache of {} random tokens; the last column is an estimate from "
      "that\n",
      measured);
  Table table({"<preset", "bytes/token", "bits", "factor", fmt::format("at {}", grouped(context))});
  for (const auto& row : rows)
    if (row.cache)
      table.add({row.name, fmt::format("{:.0f}", row.bytes_per_token()),
                 fmt::format("{:.2f}", row.cache->bits_per_value),
                 fmt::format("{:.2f}x", row.cache->compression_factor),
                 human_bytes(row.bytes_at(context))});
    else
      table.add({row.name + ": " + row.problem});
  return text + table.text();
}

Result<int> doctor(const DoctorOptions& options) {
  const auto machine = machine_info();
  if (!machine) return tl::unexpected(machine.error());
  const auto model = load_model(options.common);
  if (!model) return tl::unexpected(model.error());
  const auto context = context_of(options.common, *model, model->info().context);
  if (!context) return tl::unexpected(context.error());
  const int n = measured_tokens(options, model->info());
  const auto rows = measure_presets(options, *model, n);
  if (!rows) return tl::unexpected(rows.error());
  KVKEEP_TRY(write_out(options.common.json
                           ? json_text(doctor_json(options, *model, *machine, *context, *rows))
                           : machine_text(*machine, options.common.threads) +
                                 model_text(model->info(), *context) +
                                 presets_text(*rows, n, *context)));
  return interrupted() ? kExitFailed : kExitOk;
}

}  // namespace

void add_doctor(CLI::App& app, Action* action) {
  const auto options = std::make_shared<DoctorOptions>();
  CLI::App* command = app.add_subcommand("doctor", "what this machine and model will really use");
  add_common(*command, &options->common);
  command
      ->add_option("--measure", options->measure,
                   "tokens on which presets are measured, 0 for none (default: 512 where the model "
                   "is small)")
      ->check(integer_between(0, 1 << 24));
  command->callback([=] { *action = [options] { return doctor(*options); }; });
}

}  // namespace kvkeep
