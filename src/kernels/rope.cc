#include "kernels/rope.h"

#include <cmath>
#include <numbers>

#include "base/check.h"
#include "kernels/layout.h"

namespace kvkeep {
namespace {

// Llama 3.1: waves longer than the original context are slowed down by the factor, those much
// shorter stay, and the band between goes over smoothly.
double llama3_frequency(const RopeConfig& config, double frequency) {
  const double turns = config.original_context * frequency / (2 * std::numbers::pi);
  const double low = config.low_freq_factor, high = config.high_freq_factor;
  if (turns < low) return frequency / config.llama3_factor;
  if (turns > high) return frequency;
  const double smooth = (turns - low) / (high - low);
  return (1 - smooth) * frequency / config.llama3_factor + smooth * frequency;
}

}  // namespace

Rope::Rope(const RopeConfig& config) : config_(config) {
  KVKEEP_CHECK(config.dim >= 0 && config.dim <= kMaxHeadDim && config.dim % 2 == 0, "dim {}",
               config.dim);
  const auto pairs = static_cast<size_t>(config.dim / 2);
  KVKEEP_CHECK(config.factors.empty() || config.factors.size() == pairs, "{} factors for {} pairs",
               config.factors.size(), pairs);
  for (size_t i = 0; i < pairs; ++i) {
    double frequency =
        std::pow(static_cast<double>(config.base), -2.0 * static_cast<double>(i) / config.dim);
    if (config.llama3) frequency = llama3_frequency(config, frequency);
    if (!config.factors.empty()) frequency /= config.factors[i];
    frequencies_.push_back(frequency / config.linear_factor);
  }
}

void Rope::angles(int position, float* cos, float* sin) const {
  for (size_t i = 0; i < frequencies_.size(); ++i) {
    const double angle = position * frequencies_[i];
    cos[i] = static_cast<float>(std::cos(angle));
    sin[i] = static_cast<float>(std::sin(angle));
  }
}

void Rope::rotate(float* row, const float* cos, const float* sin, int direction) const {
  const int pairs = config_.dim / 2;
  const int step = config_.interleaved ? 2 : 1, other = config_.interleaved ? 1 : pairs;
  const float sign = direction < 0 ? -1.0f : 1.0f;
  for (int i = 0; i < pairs; ++i) {
    float* a = row + step * i;
    const float x = a[0], y = a[other], s = sign * sin[i];
    a[0] = x * cos[i] - y * s;
    a[other] = x * s + y * cos[i];
  }
}

void Rope::apply(float* row, int position, int direction) const {
  float cos[kMaxHeadDim / 2], sin[kMaxHeadDim / 2];
  angles(position, cos, sin);
  rotate(row, cos, sin, direction);
}

}  // namespace kvkeep
