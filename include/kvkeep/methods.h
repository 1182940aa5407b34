// The registry: every method and preset this build knows, from the rows that define them.
#pragma once

#include <string>
#include <vector>

#include "kvkeep/plan.h"

namespace kvkeep {

struct ParamInfo {
  std::string name, default_value, allowed, summary;
};

struct MethodInfo {
  std::string slot;      // "scorer", "budget", "transform", "low", ...
  std::string name;      // "h2o"
  std::string summary;   // one line
  std::string citation;  // paper or origin
  std::string observes;  // what it must see: "nothing", "attention mass"
  std::vector<ParamInfo> params;
  std::string pays;  // where measurements at equal bytes recommend it; empty: no limits known
};

struct PresetInfo {
  std::string name, plan, summary;
};

const std::vector<MethodInfo>& methods();
const std::vector<PresetInfo>& presets();

// One line where measurements speak against a part of the plan, else empty. asks_for_details: what
// stands somewhere in the text will be asked for.
std::string advice(const Plan& plan, bool asks_for_details);

}  // namespace kvkeep
