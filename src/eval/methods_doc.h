// The registry of methods and presets as text, Markdown (docs/methods.md) and JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace kvkeep {

std::string methods_text();
std::string methods_markdown();
nlohmann::ordered_json methods_json();

}  // namespace kvkeep
