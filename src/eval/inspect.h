// What a GGUF file holds, without loading the model: also for architectures kvkeep cannot run.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "kvkeep/error.h"

namespace kvkeep {

// Header, configuration, tokenizer, tensors by type, and the f16 cache at full context; with
// all_tensors every tensor by name. bad_input for anything that is no sound GGUF file.
Result<nlohmann::ordered_json> inspect_gguf(const std::string& path, bool all_tensors);

// The same for people.
std::string inspect_text(const nlohmann::ordered_json& report);

}  // namespace kvkeep
