#include "eval/at_bytes.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <sstream>
#include <vector>

#include "base/fail.h"
#include "eval/part_of.h"

namespace kvkeep {
namespace {

constexpr double kFixedLess = -0.1, kFixedMore = 0.05;  // of plans that have no knob
constexpr double kTolerance = 0.01, kLeast = 0.005, kMost = 0.995;
constexpr int kRuns = 9;

// A measured point of the staircase.
struct Point {
  double keep = 0, bytes = 0;
};

// Where the line through two points has `wanted` bytes, never too near an end: steps are flat.
double between(const Point& low, const Point& high, double wanted) {
  const double at = (wanted - low.bytes) / std::max(high.bytes - low.bytes, 1.0);
  return low.keep + (high.keep - low.keep) * std::min(std::max(at, 0.1), 0.9);
}

// A plan without a share of important tokens has the bytes of its layouts; rather less than more.
Result<FittedPlan> fixed_bytes(const Plan& plan, double keep, double wanted,
                               const MeasureBytes& measure, const ProgressFn& progress) {
  const auto size = measure(plan, progress);
  if (!size) return tl::unexpected(size.error());
  const double deviation = static_cast<double>(*size) / wanted - 1;
  if (deviation > kFixedLess && deviation < kFixedMore)
    return FittedPlan{plan, keep, *size, deviation};
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
  const std::string& typed = plan.typed();
  const size_t colon = typed.find(':');
  const std::string name = typed.substr(0, colon), of = plan.slot("budget").method;
  // Whole blocks, so that bytes rise by single blocks.
  const bool align = of == "uniform" && plan.slot("low").method != "chunk" &&
                     typed.find("align=") == std::string::npos;
  if (typed.find("budget=") != std::string::npos || name.find('=') != std::string::npos) {  // slots
    std::string text = plan.canonical();
    const auto replace = [&](const std::string& param, const std::string& value) {
      const size_t begin = text.find(param) + param.size(), end = text.find_first_of(",;", begin);
      text.replace(begin, end - begin, value);
    };
    replace("keep=", fmt::format("{:.4f}", keep));
    if (align) replace("align=", "blocks");
    return Plan::parse(text);
  }
  std::string text = fmt::format("{}:keep={:.4f}{}", name, keep, align ? ",align=blocks" : "");
  std::istringstream others(colon == std::string::npos ? "" : typed.substr(colon + 1));
  for (std::string other; std::getline(others, other, ',');)
    if (!other.starts_with("keep=") && !other.starts_with("budget.keep=")) text += "," + other;
  return Plan::parse(text);
}

Result<FittedPlan> fit_bytes(const Plan& plan, size_t bytes, const MeasureBytes& measure,
                             const ProgressFn& progress) {
  const std::string typed_keep = plan.slot("budget").param("keep");
  const double keep = typed_keep.empty() ? 0 : plan.slot("budget").number("keep");
  const auto wanted = static_cast<double>(bytes);
  if (!(keep > 0 && keep < 1)) return fixed_bytes(plan, keep, wanted, measure, progress);
  FittedPlan best{plan, keep, 0, INFINITY};
  int runs = 0;
  const auto try_keep = [&](double at) -> Result<Point> {
    auto candidate = with_keep(plan, at);
    if (!candidate) return tl::unexpected(candidate.error());
    const auto size = measure(*candidate, unit_of(progress, runs++, kRuns));
    if (!size) return tl::unexpected(size.error());
    const double deviation = static_cast<double>(*size) / wanted - 1;
    if (std::abs(deviation) < std::abs(best.deviation))
      best = {std::move(*candidate), at, *size, deviation};
    return Point{at, static_cast<double>(*size)};
  };
  const double most = std::min(kMost, 1 - plan.slot("budget").number("mid_keep"));
  auto low = try_keep(kLeast), high = try_keep(most);
  if (!low) return tl::unexpected(low.error());
  if (!high) return tl::unexpected(high.error());
  while (runs < kRuns && std::abs(best.deviation) > kTolerance && low->bytes < wanted &&
         high->bytes > wanted) {
    const auto middle = try_keep(between(*low, *high, wanted));
    if (!middle) return tl::unexpected(middle.error());
    (middle->bytes < wanted ? low : high) = middle;
  }
  if (wanted > 0.95 * low->bytes && wanted < 1.05 * high->bytes) return best;
  return bad_input("plan '{}' cannot take {} bytes: it measures {:.0f} to {:.0f}", plan.typed(),
                   bytes, low->bytes, high->bytes);
}

}  // namespace kvkeep
