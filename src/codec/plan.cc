// Plan text: slot=method:name=value,name=value;slot=... or preset:name=value,...
//
// Parsing fills a table of slots in canonical order, starting from the preset (or from `f16`'s
// neighbours: every slot has a default), then prints it. The printed form parses to itself.
#include "kvkeep/plan.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "base/check.h"
#include "base/fail.h"
#include "codec/merge.h"
#include "codec/registry.h"

namespace kvkeep {
namespace {

constexpr size_t kMaxText = 1000;  // characters of a plan

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  for (char c : text) {
    if (c == separator) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

struct Assignment {
  std::string name, value;
};

Result<Assignment> parse_assignment(const std::string& text, const std::string& where) {
  const size_t equal = text.find('=');
  if (equal == 0 || equal == std::string::npos || equal + 1 == text.size())
    return bad_input("plan: {}: '{}' is not of the form name=value", where, text);
  return Assignment{text.substr(0, equal), text.substr(equal + 1)};
}

Result<void> set_param(Plan::Slot* slot, const Assignment& assignment) {
  const auto method = find_method(slot->slot, slot->method);
  if (!method) return tl::unexpected(method.error());
  std::string allowed;
  for (size_t i = 0; i < (*method)->params.size(); ++i) {
    const ParamRow& param = (*method)->params[i];
    allowed += std::string(allowed.empty() ? "" : ", ") + param.name;
    if (assignment.name != param.name) continue;
    const auto value = canonical_value(**method, param, assignment.value);
    if (!value) return tl::unexpected(value.error());
    slot->params[i].second = *value;
    return {};
  }
  return bad_input("plan: slot '{}', {}: no parameter '{}'; allowed: {}", slot->slot, slot->method,
                   assignment.name, allowed.empty() ? "none" : allowed);
}

// "rtn:k=u2,v=u4" with every parameter filled in.
Result<Plan::Slot> parse_method(const std::string& slot_name, const std::string& text) {
  const size_t colon = text.find(':');
  const auto row = find_method(slot_name, text.substr(0, colon));
  if (!row) return tl::unexpected(row.error());
  Plan::Slot slot{slot_name, (*row)->name, {}};
  for (const ParamRow& param : (*row)->params) slot.params.emplace_back(param.name, param.fallback);
  if (colon == std::string::npos) return slot;
  for (const std::string& part : split(text.substr(colon + 1), ',')) {
    const auto assignment = parse_assignment(part, "slot '" + slot_name + "'");
    if (!assignment) return tl::unexpected(assignment.error());
    KVKEEP_TRY(set_param(&slot, *assignment));
  }
  return slot;
}

// Slots in canonical order; only `transform` may hold several methods, joined by '+'.
using SlotTable = std::map<std::string, std::vector<Plan::Slot>>;

Result<void> set_slot(SlotTable* table, const std::string& name, const std::string& text) {
  const auto& names = slot_names();
  if (std::find(names.begin(), names.end(), name) == names.end())
    return bad_input("plan: no slot '{}'; allowed: {}", name, fmt::join(names, ", "));
  std::vector<Plan::Slot> slots;
  for (const std::string& part : split(text, '+')) {
    auto slot = parse_method(name, part);
    if (!slot) return tl::unexpected(slot.error());
    for (const Plan::Slot& other : slots)
      if (other.method == slot->method || other.method == "none" || slot->method == "none")
        return bad_input("plan: slot '{}': '{}' cannot be combined that way", name, text);
    slots.push_back(*std::move(slot));
  }
  if (slots.size() > 1 && name != "transform")
    return bad_input("plan: slot '{}' takes one method, not '{}'", name, text);
  (*table)[name] = std::move(slots);
  return {};
}

// A budget that takes the place of another goes on with its amounts: preset:budget=ada
void take_over_amounts(const Plan::Slot& before, const std::string& text, Plan::Slot* slot) {
  for (auto& [name, value] : slot->params)
    if (text.find(name + "=") == std::string::npos && !before.param(name).empty())
      value = before.param(name);
}

// preset:keep=0.3  preset:low=u4  preset:low.k=u3  preset:scorer=random  preset:transform=centre
Result<void> override(SlotTable* table, const Assignment& assignment) {
  const auto& [name, value] = assignment;
  if (const size_t dot = name.find('.'); dot != std::string::npos) {
    const auto found = table->find(name.substr(0, dot));
    if (found == table->end() || found->second.size() != 1)
      return bad_input("plan: no slot '{}'; allowed: {}", name.substr(0, dot),
                       fmt::join(slot_names(), ", "));
    return set_param(&found->second[0], {name.substr(dot + 1), value});
  }
  if (table->contains(name)) {
    const bool tier = (name == "high" || name == "mid" || name == "low") &&
                      !find_method(name, value.substr(0, value.find(':')));
    const Plan::Slot before = table->at(name)[0];
    const std::string method = value[0] == 'c' ? "grid" : "rtn";
    KVKEEP_TRY(set_slot(table, name, tier ? method + ":k=" + value + ",v=" + value : value));
    if (name == "budget") take_over_amounts(before, value, &table->at(name)[0]);
    return {};
  }
  std::string allowed =
      "scorer, budget, representatives, high, mid, low, predictor, transform, attend";
  Plan::Slot* found = nullptr;
  for (const char* slot : {"budget", "scorer", "representatives"}) {
    for (const auto& [param, current] : table->at(slot)[0].params) {
      allowed += ", " + param;
      if (param != name) continue;
      if (found)
        return bad_input("plan: '{}' is ambiguous; allowed: {}.{}, {}.{}", name, found->slot, name,
                         slot, name);
      found = &table->at(slot)[0];
    }
  }
  if (found) return set_param(found, assignment);
  return bad_input("plan: no parameter '{}'; allowed: {}, or slot.parameter", name, allowed);
}

Result<void> parse_slots(SlotTable* table, const std::string& text) {
  std::vector<std::string> seen;
  for (const std::string& part : split(text, ';')) {
    const auto slot = parse_assignment(part, "slots");
    if (!slot) return tl::unexpected(slot.error());
    if (std::find(seen.begin(), seen.end(), slot->name) != seen.end())
      return bad_input("plan: slot '{}' is given twice", slot->name);
    seen.push_back(slot->name);
    KVKEEP_TRY(set_slot(table, slot->name, slot->value));
  }
  return {};
}

// kvcrush:base=snapkv: the preset's representatives on the plan of another preset.
Result<void> set_base(SlotTable* table, const Assignment& assignment) {
  const PresetRow* base = find_preset(assignment.value);
  if (!base) return bad_input("plan: base={}: no such preset", assignment.value);
  return parse_slots(table, base->plan);
}

Result<void> parse_preset(SlotTable* table, const std::string& text) {
  const size_t colon = text.find(':');
  const PresetRow* preset = find_preset(text.substr(0, colon));
  if (!preset) {
    std::string names;
    for (const PresetRow& row : preset_rows())
      names += std::string(names.empty() ? "" : " ") + row.name;
    return bad_input("plan: no preset '{}'; allowed: {}, or slots as in '{}'",
                     text.substr(0, colon), names, find_preset("mikv")->plan);
  }
  KVKEEP_TRY(parse_slots(table, preset->plan));
  if (colon == std::string::npos) return {};
  const bool has_base = table->at("representatives")[0].method != "none";
  bool first = true;
  for (const std::string& part : split(text.substr(colon + 1), ',')) {
    const auto assignment = parse_assignment(part, std::string("preset ") + preset->name);
    if (!assignment) return tl::unexpected(assignment.error());
    const bool base = has_base && first && assignment->name == "base";
    KVKEEP_TRY(base ? set_base(table, *assignment) : override(table, *assignment));
    first = false;
  }
  return {};
}

std::string print(const std::vector<Plan::Slot>& slots) {
  std::string text, previous;
  for (const Plan::Slot& slot : slots) {
    text += slot.slot == previous ? "+" : (text.empty() ? "" : ";") + slot.slot + "=";
    text += slot.method;
    for (size_t i = 0; i < slot.params.size(); ++i)
      text += (i ? "," : ":") + slot.params[i].first + "=" + slot.params[i].second;
    previous = slot.slot;
  }
  return text;
}

// Chunks hold the same tokens in every layer and kv_head, so these are chosen for all at once.
Result<void> check_chunks(const Plan& plan) {
  const Plan::Slot &low = plan.slot("low"), &predictor = plan.slot("predictor");
  if (low.method != "chunk") {
    if (predictor.method == "none") return {};
    return bad_input("plan: slot 'predictor', {}: allowed with low=chunk, not with low={}",
                     predictor.method, low.method);
  }
  if (plan.slot("mid").method != "none")
    return bad_input("plan: slot 'mid', {}: allowed with low=chunk is none",
                     plan.slot("mid").method);
  if (plan.slot("budget").method != "uniform")
    return bad_input("plan: slot 'budget', {}: allowed with low=chunk is uniform",
                     plan.slot("budget").method);
  if (plan.slot("budget").param("align") != "rows")
    return bad_input("plan: slot 'budget', align={}: allowed with low=chunk is rows",
                     plan.slot("budget").param("align"));
  if (low.param("v") == "none" && (predictor.method == "none" || predictor.param("base") == "none"))
    return bad_input("plan: slot 'low', chunk: v=none needs a predictor of values; {} is none",
                     predictor.method == "none" ? "predictor" : "base");
  if (plan.slot("representatives").method != "none")
    return bad_input("plan: slot 'representatives', {}: allowed with low=chunk is none",
                     plan.slot("representatives").method);
  if (plan.slot("transform").method != "none" && plan.slot("high").method == "f16")
    return bad_input(
        "plan: slot 'transform', {}: chunks and exact rows are not transformed; allowed with "
        "low=chunk and high=f16 is none",
        plan.slot("transform").method);
  if (predictor.param("form") == "per_head" && predictor.number("rank") > 0)
    return bad_input("plan: slot 'predictor', {}: form=per_head has no rank={}; allowed: 0",
                     predictor.method, predictor.param("rank"));
  return {};
}

// Where the low level holds no rows, others must stay; merging changes rows where they lie.
Result<void> check_eviction(const Plan& plan) {
  const Plan::Slot& budget = plan.slot("budget");
  const std::string& low = plan.slot("low").method;
  const bool merges = Merger::is(plan.slot("low"));
  if (low != "drop" && !merges) return {};
  if (budget.number("keep") == 0 && budget.number("window") == 0)
    return bad_input(
        "plan: slot 'low', {}: with budget keep=0 and window=0 no token would be "
        "left; give keep or window",
        low);
  if (merges && (plan.slot("high").method != "f16" || plan.slot("mid").method != "none"))
    return bad_input(
        "plan: slot 'low', {}: tokens are merged into exact ones; allowed are high=f16 and "
        "mid=none",
        low);
  return {};
}

Result<void> check_together(const Plan& plan) {
  const Plan::Slot& budget = plan.slot("budget");
  KVKEEP_TRY(check_eviction(plan));
  const bool mid = plan.slot("mid").method != "none";
  if (mid != (budget.number("mid_keep") > 0))
    return bad_input(
        "plan: slot 'mid', {}, with budget mid_keep={}: allowed are a middle level and its share, "
        "or none and 0",
        plan.slot("mid").method, budget.param("mid_keep"));
  if (plan.slot("low").method == "kivi" &&
      (plan.slot("scorer").method != "recency" || budget.number("keep") > 0 || mid))
    return bad_input(
        "plan: slot 'low', kivi: tokens go down in order; allowed: scorer=recency, budget keep=0, "
        "mid=none");
  const std::string& stands = plan.slot("representatives").method;
  const Plan::Slot& scorer = plan.slot("scorer");
  if (stands == "kvcrush" &&
      !observes((*find_method("scorer", scorer.method))->observes, Observes::attention))
    return bad_input(
        "plan: slot 'representatives', kvcrush, with scorer {}: allowed are scorers that "
        "observe attention (h2o, snapkv, tova, ...), whose heads differ",
        scorer.method);
  KVKEEP_TRY(check_chunks(plan));
  if (budget.number("keep") + budget.number("mid_keep") > 1)
    return bad_input("plan: slot 'budget': keep={} and mid_keep={}: allowed is a sum of at most 1",
                     budget.param("keep"), budget.param("mid_keep"));
  return {};
}

}  // namespace

std::string Plan::Slot::param(const std::string& name) const {
  for (const auto& [key, value] : params)
    if (key == name) return value;
  return {};
}

double Plan::Slot::number(const std::string& name) const {
  const std::string text = param(name);
  double value = 0;  // strtod would follow the host's locale
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

const Plan::Slot& Plan::slot(const std::string& name) const {
  for (const Slot& slot : slots_)
    if (slot.slot == name) return slot;
  KVKEEP_CHECK(false, "no slot {}", name);
}

Result<Plan> Plan::parse(const std::string& text) {
  if (text.empty()) return bad_input("plan: empty; give a preset such as mikv, or slots");
  if (text.size() > kMaxText)
    return bad_input("plan: {} characters; at most {} are read", text.size(), kMaxText);
  SlotTable table;
  KVKEEP_TRY(
      parse_slots(&table,
                  "scorer=recency;budget=uniform;representatives=none;high=f16;mid=none;low=rtn;"
                  "predictor=none;transform=none;attend=integer"));
  const bool slots = text.find('=') < text.find(':') || text.find(';') != std::string::npos;
  KVKEEP_TRY(slots ? parse_slots(&table, text) : parse_preset(&table, text));
  Plan plan;
  plan.typed_ = text;
  for (const std::string& name : slot_names())
    for (Slot& slot : table[name]) plan.slots_.push_back(std::move(slot));
  plan.canonical_ = print(plan.slots_);
  KVKEEP_TRY(check_together(plan));
  return plan;
}

}  // namespace kvkeep
