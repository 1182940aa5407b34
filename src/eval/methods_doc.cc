#include "eval/methods_doc.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "eval/table.h"
#include "kvkeep/methods.h"

namespace kvkeep {
namespace {

std::vector<std::string> slots() {
  std::vector<std::string> names;
  for (const auto& method : methods())
    if (std::find(names.begin(), names.end(), method.slot) == names.end())
      names.push_back(method.slot);
  return names;
}

// "keep=0.2 (0 to 1), recent=0.5 (0 to 1)"
std::string params_text(const MethodInfo& method) {
  std::string text;
  for (const auto& param : method.params)
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", param.name, param.default_value);
  return text.empty() ? "-" : text;
}

// A table cell: a bar would end it.
std::string cell(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '|') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

// What a method does and, where that is known, where it pays.
std::string summary_of(const MethodInfo& m) {
  return m.pays.empty() ? m.summary : fmt::format("{}; pays {}", m.summary, m.pays);
}

std::string slot_markdown(const std::string& slot) {
  std::string text = fmt::format(
      "\n## Slot `{}`\n\n| method | what it does | observes | origin |\n|---|---|---|---|\n", slot);
  std::string params;
  for (const auto& m : methods()) {
    if (m.slot != slot) continue;
    text += fmt::format("| `{}` | {} | {} | {} |\n", m.name, cell(summary_of(m)), cell(m.observes),
                        cell(m.citation));
    for (const auto& p : m.params)
      params += fmt::format("| `{}` | `{}` | `{}` | {} | {} |\n", m.name, p.name, p.default_value,
                            cell(p.allowed), cell(p.summary));
  }
  if (params.empty()) return text;
  return text + "\n| method | parameter | default | allowed | meaning |\n|---|---|---|---|---|\n" +
         params;
}

}  // namespace

std::string methods_text() {
  Table presets_table({"<preset", "<what it is", "<plan"});
  for (const auto& preset : presets())
    presets_table.add({preset.name, preset.summary, preset.plan});
  Table table({"<slot", "<method", "<what it does", "<parameters"});
  for (const auto& slot : slots())
    for (const auto& m : methods())
      if (m.slot == slot) table.add({m.slot, m.name, summary_of(m), params_text(m)});
  return presets_table.text() + "\n" + table.text();
}

std::string methods_markdown() {
  std::string text =
      "# Methods and presets\n\n"
      "Written by `kvkeep methods --markdown`; do not edit. A plan is slots separated by `;`, each "
      "a\nmethod with parameters (`slot=method:name=value,...`), or a preset with parameters "
      "(`mikv:keep=0.3`).\n\n"
      "## Presets\n\n| preset | what it is | plan |\n|---|---|---|\n";
  for (const auto& preset : presets())
    text += fmt::format("| `{}` | {} | `{}` |\n", preset.name, cell(preset.summary), preset.plan);
  for (const auto& slot : slots()) text += slot_markdown(slot);
  return text;
}

nlohmann::ordered_json methods_json() {
  using Json = nlohmann::ordered_json;
  Json json = {{"schema", "kvkeep.methods/1"}, {"presets", Json::array()}};
  for (const auto& preset : presets())
    json["presets"].push_back(
        {{"name", preset.name}, {"plan", preset.plan}, {"summary", preset.summary}});
  json["methods"] = Json::array();
  for (const auto& m : methods()) {
    Json params = Json::array();
    for (const auto& p : m.params)
      params.push_back({{"name", p.name},
                        {"default", p.default_value},
                        {"allowed", p.allowed},
                        {"summary", p.summary}});
    json["methods"].push_back({{"slot", m.slot},
                               {"name", m.name},
                               {"summary", m.summary},
                               {"citation", m.citation},
                               {"observes", m.observes},
                               {"pays", m.pays},
                               {"params", params}});
  }
  return json;
}

}  // namespace kvkeep
