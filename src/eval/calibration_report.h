// What a calibration file says of itself: how much of each layer's keys and values its predictions
// explain on text that they were not fitted to.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "kvkeep/error.h"
#include "kvkeep/model.h"
#include "kvkeep/plan.h"
#include "kvkeep/progress.h"

namespace kvkeep {

// Whether the file begins as a calibration does.
bool is_calibration(const std::string& path);
// bad_input for anything that is no sound calibration.
Result<nlohmann::ordered_json> inspect_calibration(const std::string& path);
Result<nlohmann::ordered_json> calibration_json(std::string_view bytes, const std::string& path);
// The same for people.
std::string calibration_text(const nlohmann::ordered_json& report);

// Fits the plan's predictors and gives the file's bytes.
Result<std::string> calibrate_to_bytes(const Model& model, const Plan& plan,
                                       const std::vector<std::vector<int32_t>>& windows,
                                       int threads, const ProgressFn& progress);

}  // namespace kvkeep
