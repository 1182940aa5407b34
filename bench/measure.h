// What these programs share with `kvkeep bench`.
#pragma once

#include <nlohmann/json.hpp>

#include "eval/bench/measure.h"

namespace kvkeep::bench {

inline nlohmann::json to_json(const Spread& spread) {
  return {{"median", spread.median}, {"min", spread.min}, {"max", spread.max}};
}

}  // namespace kvkeep::bench
