// The rows behind plans: every method of every slot with its parameters, and every preset.
//
// A stage's methods.inc holds one row a method; this file only gathers them. The same rows drive
// parsing, the error messages, `kvkeep methods` and docs/methods.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kvkeep/error.h"

namespace kvkeep {

enum class ParamKind { number, integer, numbers, layout, codebook, choice };

struct ParamRow {
  const char* name;
  const char* fallback;  // default, in canonical spelling
  ParamKind kind;
  double least, most;  // inclusive, of numbers and integers; `numbers` are joined by '/'
  const char* summary;
  std::vector<std::string> choices = {};  // of a choice
};

// What a method must be shown; parts add up.
enum class Observes : uint8_t {
  nothing = 0,
  attention = 1,
  keys = 2,
  attention_and_keys = attention | keys,
  queries = 4,
  queries_and_keys = queries | keys,
};
inline bool observes(Observes all, Observes part) {
  return (static_cast<int>(all) & static_cast<int>(part)) != 0;
}

struct MethodRow {
  const char* slot;
  const char* name;
  const char* summary;
  const char* citation;
  Observes observes = Observes::nothing;
  std::vector<ParamRow> params = {};
  const char* pays = "";  // where measurements at equal bytes recommend it; empty: no limits known
};

struct PresetRow {
  const char* name;
  const char* plan;
  const char* summary;
};

// Slots of a plan in canonical order: scorer, budget, representatives, high, mid, low, predictor,
// transform, attend.
const std::vector<std::string>& slot_names();
const std::vector<MethodRow>& method_rows();
const std::vector<PresetRow>& preset_rows();

// Errors list what is allowed in that slot.
Result<const MethodRow*> find_method(std::string_view slot, std::string_view name);
const PresetRow* find_preset(std::string_view name);  // nullptr when unknown

// "0.2" -> "0.2", "0.20" -> "0.2", "u4g64" -> "u4g64"; an error names slot, method and range.
Result<std::string> canonical_value(const MethodRow& method, const ParamRow& param,
                                    const std::string& value);
std::string allowed_values(const ParamRow& param);  // "0 to 1", "a layout: f16, u8, ..."

}  // namespace kvkeep
