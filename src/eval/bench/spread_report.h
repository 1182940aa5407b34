// How a median with its extremes is written.
#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>

#include "eval/bench/measure.h"
#include "eval/report.h"

namespace kvkeep::bench {

// "NAME", "NAME_min", "NAME_max"
inline void add_spread(Json* json, const std::string& name, const Spread& spread) {
  (*json)[name] = spread.median;
  (*json)[name + "_min"] = spread.min;
  (*json)[name + "_max"] = spread.max;
}

// "1.50 (1.20 to 1.90)", each times `factor`
inline std::string range(const Spread& s, int digits, double factor = 1) {
  return fmt::format("{:.{}f} ({:.{}f} to {:.{}f})", factor * s.median, digits, factor * s.min,
                     digits, factor * s.max, digits);
}

}  // namespace kvkeep::bench
