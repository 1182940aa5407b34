// The registry: every method and preset this build knows, from the rows that define them.
#pragma once

#include <string>
#include <vector>

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
};

struct PresetInfo {
  std::string name, plan, summary;
};

const std::vector<MethodInfo>& methods();
const std::vector<PresetInfo>& presets();

}  // namespace kvkeep
