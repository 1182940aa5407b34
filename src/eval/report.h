// Results as text and as JSON: the shapes that scripts rely on (docs/design.md, section 5).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "eval/machine.h"
#include "eval/task.h"
#include "kvkeep/model.h"
#include "kvkeep/report.h"

namespace kvkeep {

using Json = nlohmann::ordered_json;

// One line feed at the end; bytes that are no UTF-8 become U+FFFD, NaN and infinity null.
std::string json_text(const Json& json);

Json model_json(const ModelInfo& info);
Json machine_json(const MachineInfo& info, int threads);
Json cache_json(const CacheReport& report);
Json eval_json(const TaskResult& result);  // the array "results"

// Where the bytes of a cache are, for people.
std::string cache_text(const CacheReport& report, bool per_layer);
// The layouts a cache really uses: "f16 20 %, u2g32 80 %" of its readable tokens.
std::string tiers_text(const std::vector<TierReport>& tiers);
// One table per task; rows of plan f16 are the reference of the others.
std::string eval_text(const TaskResult& result);

}  // namespace kvkeep
