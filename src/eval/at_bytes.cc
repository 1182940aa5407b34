#include "eval/at_bytes.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>
#include <utility>
#include <vector>

#include "base/fail.h"
#include "eval/part_of.h"

namespace kvkeep {
namespace {

constexpr double kFixedLess = -0.1, kFixedMore = 0.05;  // of plans that have no knob
constexpr double kTolerance = 0.01, kLeast = 0.005, kMost = 0.995;
constexpr int kRuns = 9;

bool has_chunks(const Plan& plan) { return plan.slot("low").method == "chunk"; }

// A measured point of the staircase.
struct Point {
  double knob = 0, bytes = 0;
};

// Where the line through two points has `wanted` bytes, never too near an end: steps are flat.
double between(const Point& low, const Point& high, double wanted) {
  const double at = (wanted - low.bytes) / std::max(high.bytes - low.bytes, 1.0);
  return low.knob + (high.knob - low.knob) * std::min(std::max(at, 0.1), 0.9);
}

// A plan as typed with some values in place of others. Presets take a budget's parameters by their
// names alone; plans in slots are spelled out.
using Values = std::vector<std::pair<std::string, std::string>>;  // "budget.keep", "0.2"

Result<Plan> with_values(const Plan& plan, const Values& values) {
  const std::string& typed = plan.typed();
  const size_t colon = typed.find(':');
  const std::string name = typed.substr(0, colon);
  const auto short_name = [](const std::string& full) { return full.substr(full.find('.') + 1); };
  if (typed.find("budget=") != std::string::npos || name.find('=') != std::string::npos) {  // slots
    std::string text = plan.canonical();
    for (const auto& [full, value] : values) {
      const std::string param = short_name(full) + "=";
      const size_t slot = text.find(full.substr(0, full.find('.')) + "=");
      const size_t begin = text.find(param, slot) + param.size();
      text.replace(begin, text.find_first_of(",;", begin) - begin, value);
    }
    return Plan::parse(text);
  }
  std::string text = name;
  const auto add = [&](const std::string& more) {
    text += (text.size() == name.size() ? ":" : ",") + more;
  };
  std::istringstream rest(colon == std::string::npos ? "" : typed.substr(colon + 1));
  std::vector<std::string> others;
  for (std::string other; std::getline(rest, other, ',');) others.push_back(other);
  const auto is_base = [](const std::string& each) { return each.starts_with("base="); };
  if (!others.empty() && is_base(others[0])) add(others[0]);  // what a preset stands on comes first
  for (const auto& [full, value] : values)
    add((full.starts_with("budget.") ? short_name(full) : full) + "=" + value);
  for (const std::string& other : others) {
    if (is_base(other)) continue;
    const std::string param = other.substr(0, other.find('='));
    const auto replaced = [&](const auto& each) {
      return param == each.first || param == short_name(each.first);
    };
    if (std::none_of(values.begin(), values.end(), replaced)) add(other);
  }
  return Plan::parse(text);
}

// Turns one knob of a plan towards the bytes that are wanted, and remembers the best plan.
class Fitter {
 public:
  Fitter(double wanted, const MeasureBytes& measure, const ProgressFn& progress)
      : wanted_(wanted), measure_(measure), progress_(progress) {}

  const FittedPlan& best() const { return best_; }
  const FittedPlan& below() const { return below_; }  // the largest that fits; 0 bytes: none
  double least() const { return least_; }             // bytes measured
  double most() const { return most_; }

  using Turn = std::function<Result<Plan>(double knob)>;
  // `fits`: only what is not above the wanted bytes counts as near.
  Result<void> turn(double FittedPlan::*knob, double from, double to, bool fits,
                    const Turn& turned) {
    int runs = 0;
    const auto at = [&](double value) -> Result<Point> {
      auto candidate = turned(value);
      if (!candidate) return tl::unexpected(candidate.error());
      const auto size = measure_(*candidate, unit_of(progress_, runs++, kRuns));
      if (!size) return tl::unexpected(size.error());
      const auto bytes = static_cast<double>(*size);
      least_ = std::min(least_, bytes);
      most_ = std::max(most_, bytes);
      FittedPlan found = below_;  // the other knob as it is
      found.plan = std::move(*candidate);
      found.*knob = value;
      found.bytes = *size;
      found.deviation = bytes / wanted_ - 1;
      if (std::abs(found.deviation) < std::abs(best_.deviation)) best_ = found;
      if (bytes <= wanted_ && *size > below_.bytes) below_ = found;
      return Point{value, bytes};
    };
    auto low = at(from);
    if (!low) return tl::unexpected(low.error());
    auto high = at(to);
    if (!high) return tl::unexpected(high.error());
    const auto near = [&] {
      return std::abs(fits && below_.bytes > 0 ? below_.deviation : best_.deviation) <= kTolerance;
    };
    while (runs < kRuns && !near() && low->bytes < wanted_ && high->bytes > wanted_) {
      const auto middle = at(between(*low, *high, wanted_));
      if (!middle) return tl::unexpected(middle.error());
      (middle->bytes < wanted_ ? low : high) = middle;
    }
    return {};
  }

 private:
  double wanted_;
  const MeasureBytes& measure_;
  const ProgressFn& progress_;
  FittedPlan best_{{}, 0, 0, 0, INFINITY}, below_{{}, 0, 0, 0, -1};
  double least_ = INFINITY, most_ = 0;
};

// A plan without a share of important tokens has the bytes of its layouts; rather less than more.
Result<FittedPlan> fixed_bytes(const Plan& plan, double keep, double wanted,
                               const MeasureBytes& measure, const ProgressFn& progress) {
  const auto size = measure(plan, progress);
  if (!size) return tl::unexpected(size.error());
  const double deviation = static_cast<double>(*size) / wanted - 1;
  if (deviation > kFixedLess && deviation < kFixedMore)
    return FittedPlan{plan, keep, 0, *size, deviation};
  return bad_input(
      "plan '{}' has no share of important tokens to choose (keep={}): its bytes "
      "are fixed by its layouts, {} of {:.0f} wanted",
      plan.typed(), keep, *size, wanted);
}

}  // namespace

Result<size_t> parse_bytes(const std::string& text, size_t f16_bytes) {
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  const bool percent = rest + 1 == end && *rest == '%';
  const double most = percent ? 100 : 16;
  if (error != std::errc() || (rest != end && !percent) || !(number > 0 && number <= most))
    return bad_input(
        "'{}' is neither a share of the f16 cache's bytes (20%) nor bits per value "
        "above 0 and up to 16 (3.2)",
        text);
  return static_cast<size_t>(std::llround(number / most * static_cast<double>(f16_bytes)));
}

Result<Plan> with_keep(const Plan& plan, double keep) {
  Values values = {{"budget.keep", fmt::format("{:.4f}", keep)}};
  // Whole blocks, so that bytes rise by single blocks.
  if (plan.slot("budget").method != "ada" && !has_chunks(plan) &&
      plan.typed().find("align=") == std::string::npos)
    values.emplace_back("budget.align", "blocks");
  return with_values(plan, values);
}

Result<Plan> with_fine(const Plan& plan, double fine) {
  return with_values(plan, {{"low.fine", fmt::format("{:.4f}", fine)}});
}

Result<FittedPlan> fit_bytes(const Plan& plan, size_t bytes, const MeasureBytes& measure,
                             const ProgressFn& progress) {
  const std::string typed_keep = plan.slot("budget").param("keep");
  const double keep = typed_keep.empty() ? 0 : plan.slot("budget").number("keep");
  const bool turns_keep = keep > 0 && keep < 1, chunks = has_chunks(plan);
  const auto wanted = static_cast<double>(bytes);
  if (!turns_keep && !chunks) return fixed_bytes(plan, keep, wanted, measure, progress);
  Fitter fitter(wanted, measure, progress);
  if (turns_keep) {
    const double most = std::min(kMost, 1 - plan.slot("budget").number("mid_keep"));
    KVKEEP_TRY(fitter.turn(&FittedPlan::keep, kLeast, most, chunks,
                           [&](double at) { return with_keep(plan, at); }));
  }
  const bool fits = turns_keep && fitter.below().bytes > 0;
  if (chunks && (fits || !turns_keep) && std::abs(fitter.best().deviation) > kTolerance) {
    const Plan from = fits ? fitter.below().plan : plan;
    KVKEEP_TRY(fitter.turn(&FittedPlan::fine, 0, 1, false,
                           [&](double at) { return with_fine(from, at); }));
  }
  if (wanted > 0.95 * fitter.least() && wanted < 1.05 * fitter.most()) return fitter.best();
  return bad_input("plan '{}' cannot take {} bytes: it measures {:.0f} to {:.0f}", plan.typed(),
                   bytes, fitter.least(), fitter.most());
}

}  // namespace kvkeep
