#include "codec/transform/waves.h"

#include <cmath>
#include <mutex>
#include <vector>

namespace kvkeep {
namespace {

AlignedBuffer<float> table(const std::vector<double>& frequencies, int count, int step) {
  const size_t pairs = frequencies.size();
  AlignedBuffer<float> rows(static_cast<size_t>(count) * 2 * pairs);
  float* out = rows.data();
  for (int n = 0; n < count; ++n, out += 2 * pairs)
    for (size_t i = 0; i < pairs; ++i) {
      const double angle = static_cast<double>(n) * step * frequencies[i];
      out[i] = static_cast<float>(std::cos(angle));
      out[pairs + i] = static_cast<float>(std::sin(angle));
    }
  return rows;
}

struct Held {
  RopeConfig rope;
  int context;
  std::weak_ptr<const Waves> waves;
};

}  // namespace

Waves::Waves(const RopeConfig& rope, int context) : pairs_(rope.dim / 2) {
  const Rope turn(rope);
  fine_ = table(turn.frequencies(), kStride, 1);
  coarse_ = table(turn.frequencies(), (context + kStride - 1) / kStride, kStride);
}

std::shared_ptr<const Waves> Waves::of(const RopeConfig& rope, int context) {
  static std::mutex mutex;
  static std::vector<Held> held;
  const std::lock_guard lock(mutex);
  std::erase_if(held, [](const Held& one) { return one.waves.expired(); });
  for (const Held& one : held)
    if (one.context == context && one.rope == rope)
      if (auto waves = one.waves.lock()) return waves;
  auto made = std::make_shared<const Waves>(rope, context);
  held.push_back({rope, context, made});
  return made;
}

void Waves::angles(int position, float* cosine, float* sine) const {
  const float* x = coarse(position / kStride);
  const float* y = fine(position % kStride);
  for (int i = 0; i < pairs_; ++i) {
    cosine[i] = x[i] * y[i] - x[pairs_ + i] * y[pairs_ + i];
    sine[i] = x[pairs_ + i] * y[i] + x[i] * y[pairs_ + i];
  }
}

}  // namespace kvkeep
