// The calibration a plan needs for a model: the file the user names, or the one beside the model's
// file (any name that ends in .kvcal) whose key is the model's and the plan's.
#pragma once

#include <memory>
#include <string>

#include "codec/calibration.h"
#include "codec/chunk.h"
#include "kvkeep/model.h"

namespace kvkeep {

// What a calibration of this model for this plan would say it is for.
CalibrationKey calibration_key(const Model& model, const Plan& plan);

// nullptr when the plan needs none, or when no file is named and none lies beside the model.
// bad_input: a named file that cannot be read, is damaged, or is for another model or plan. All
// sessions of a process that use the same file share what was read, until it is written anew.
Result<std::shared_ptr<const Calibration>> find_calibration(const Model& model, const Plan& plan,
                                                            const std::string& path);

// Layer 0 of the model's tokens where the plan takes it from them; else nothing.
TokenRows token_rows(const Model& model, const Plan& plan);

}  // namespace kvkeep
