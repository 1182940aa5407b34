#include "codec/registry.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/fail.h"
#include "kernels/layout.h"
#include "kvkeep/methods.h"

namespace kvkeep {
namespace {

template <class Rows, class Name>
std::string join(const Rows& rows, const Name& name) {
  std::string text;
  for (const auto& row : rows) {
    if (std::string item = name(row); !item.empty()) text += (text.empty() ? "" : ", ") + item;
  }
  return text;
}

std::string observed(Observes all) {
  std::string text;
  for (const auto& [part, name] : {std::pair{Observes::attention, "attention mass"},
                                   {Observes::queries, "queries"},
                                   {Observes::keys, "keys"}})
    if (observes(all, part)) text += (text.empty() ? "" : ", ") + std::string(name);
  return text.empty() ? "nothing" : text;
}

}  // namespace

const std::vector<std::string>& slot_names() {
  static const std::vector<std::string> names = {"scorer",    "budget",    "representatives",
                                                 "high",      "mid",       "low",
                                                 "predictor", "transform", "attend"};
  return names;
}

const std::vector<MethodRow>& method_rows() {
  static const std::vector<MethodRow> rows = {
#define KVKEEP_SCORER(name, observes, summary, citation, ...) \
  {"scorer", #name, summary, citation, Observes::observes, __VA_ARGS__},
#include "codec/scorer/methods.inc"
#undef KVKEEP_SCORER
#define KVKEEP_BUDGET(name, observes, summary, citation, ...) \
  {"budget", #name, summary, citation, Observes::observes, __VA_ARGS__},
#include "codec/budget/methods.inc"
#undef KVKEEP_BUDGET
      {"representatives", "none", "the best scores take all places", "-"},
#define KVKEEP_REPRESENTATIVES(function, name, summary, citation, pays, ...) \
  {"representatives", name, summary, citation, Observes::nothing, __VA_ARGS__, pays},
#include "codec/representatives/methods.inc"
#undef KVKEEP_REPRESENTATIVES
#define KVKEEP_TIER(slot, name, summary, citation, ...) \
  {#slot, #name, summary, citation, Observes::nothing, __VA_ARGS__},
#include "codec/tiers.inc"
#undef KVKEEP_TIER
#define KVKEEP_PREDICTOR(name, summary, citation, ...) \
  {"predictor", #name, summary, citation, Observes::nothing, __VA_ARGS__},
#include "codec/predictor/methods.inc"
#undef KVKEEP_PREDICTOR
      {"transform", "none", "rows are coded as they are", "-"},
#define KVKEEP_TRANSFORM(name, observes, summary, citation, ...) \
  {"transform", #name, summary, citation, Observes::observes, __VA_ARGS__},
#include "codec/transform/methods.inc"
#undef KVKEEP_TRANSFORM
#define KVKEEP_ATTEND(name, summary, citation) \
  {"attend", #name, summary, citation, Observes::nothing, {}},
#include "codec/attends.inc"
#undef KVKEEP_ATTEND
  };
  return rows;
}

const std::vector<PresetRow>& preset_rows() {
  static const std::vector<PresetRow> rows = {
#define KVKEEP_PRESET(name, plan, summary) {name, plan, summary},
#include "codec/presets.inc"
#undef KVKEEP_PRESET
  };
  return rows;
}

Result<const MethodRow*> find_method(std::string_view slot, std::string_view name) {
  const auto& rows = method_rows();
  for (const MethodRow& row : rows)
    if (row.slot == slot && row.name == name) return &row;
  return bad_input("plan: slot '{}' has no method '{}'; allowed: {}", slot, name,
                   join(rows, [&](const MethodRow& row) {
                     return row.slot == slot ? std::string(row.name) : std::string();
                   }));
}

const PresetRow* find_preset(std::string_view name) {
  const auto& rows = preset_rows();
  const auto found = std::find_if(rows.begin(), rows.end(),
                                  [&](const PresetRow& row) { return row.name == name; });
  return found == rows.end() ? nullptr : &*found;
}

std::string allowed_values(const ParamRow& param) {
  if (param.kind == ParamKind::layout)
    return "u8, u5, u4, u3, u2 (uniform) or s8, s5, s4, s3 (symmetric), then nothing (groups of "
           "half a head), g32, g64, g128 or gt (one per token)";
  if (param.kind == ParamKind::codebook)
    return "c4, c3, c2 (codebooks), then nothing (one scale per token), g32, g64, g128 or gh (half "
           "a head)";
  if (param.kind == ParamKind::choice) return fmt::format("{}", fmt::join(param.choices, ", "));
  if (param.kind == ParamKind::numbers)
    return fmt::format("numbers {} to {} joined by '/'", param.least, param.most);
  return fmt::format("{} {} to {}", param.kind == ParamKind::integer ? "integer" : "number",
                     param.least, param.most);
}

Result<std::string> canonical_value(const MethodRow& method, const ParamRow& param,
                                    const std::string& value) {
  const auto refuse = [&] {
    return bad_input("plan: slot '{}', {}: '{}={}' is not allowed; allowed: {}", method.slot,
                     method.name, param.name, value, allowed_values(param));
  };
  if (param.kind == ParamKind::layout || param.kind == ParamKind::codebook) {
    const auto layout = parse_layout(value);
    if (!layout || layout->id == LayoutId::f16) return refuse();
    const bool codebook = layout_kind(layout->id) == LayoutKind::codebook;
    if (by_channel(layout->id)) return refuse();
    if (codebook != (param.kind == ParamKind::codebook)) return refuse();
    return layout_name(*layout);
  }
  if (param.kind == ParamKind::choice) {
    const auto& choices = param.choices;
    if (std::find(choices.begin(), choices.end(), value) == choices.end()) return refuse();
    return value;
  }
  std::string canonical;
  const char *at = value.data(), *end = at + value.size();
  for (bool more = true; more;) {
    double number = 0;
    const auto [stop, error] = std::from_chars(at, end, number);
    more = param.kind == ParamKind::numbers && stop + 1 < end && *stop == '/';
    if (error != std::errc() || (stop != end && !more) ||
        !(number >= param.least && number <= param.most))
      return refuse();
    if (param.kind == ParamKind::integer && number != std::floor(number)) return refuse();
    // The shortest form that reads back the same.
    canonical += fmt::format("{}{}", number == 0 ? 0.0 : number, more ? "/" : "");
    at = stop + 1;
  }
  return canonical;
}

const std::vector<MethodInfo>& methods() {
  static const std::vector<MethodInfo> list = [] {
    std::vector<MethodInfo> infos;
    for (const MethodRow& row : method_rows()) {
      MethodInfo info{row.slot, row.name, row.summary, row.citation, observed(row.observes),
                      {},       row.pays};
      for (const ParamRow& param : row.params)
        info.params.push_back({param.name, param.fallback, allowed_values(param), param.summary});
      infos.push_back(std::move(info));
    }
    return infos;
  }();
  return list;
}

std::string advice(const Plan& plan, bool asks_for_details) {
  const Plan::Slot& slot = plan.slot("representatives");
  const auto row = find_method("representatives", slot.method);
  if (!row || (*row)->pays[0] == '\0') return "";
  const std::string low = plan.slot("low").method;
  const bool evicts = low == "drop" || low == "d2o" || low == "kvmerger";
  std::string otherwise;
  if (!evicts)
    otherwise = "where they are kept in a low tier it gained little";
  else if (asks_for_details)
    otherwise = "what is asked for later needs a low tier, such as low=rtn:k=u4,v=u3";
  else if (plan.slot("scorer").method == "snapkv" && plan.slot("budget").number("keep") > 0.25)
    otherwise = "with snapkv and more than a quarter of the tokens kept it gained little";
  else
    return "";
  return fmt::format("representatives={} of '{}' pays {}: {} (docs/kvcrush.md)", slot.method,
                     plan.typed(), (*row)->pays, otherwise);
}

const std::vector<PresetInfo>& presets() {
  static const std::vector<PresetInfo> list = [] {
    std::vector<PresetInfo> infos;
    for (const PresetRow& row : preset_rows()) infos.push_back({row.name, row.plan, row.summary});
    return infos;
  }();
  return list;
}

}  // namespace kvkeep
