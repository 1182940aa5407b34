#include "codec/scorer/scorer.h"

#include <bit>
#include <cmath>

#include "base/check.h"

namespace kvkeep {

float round_score(float score, uint32_t noise) {
  constexpr float kMost = 65504.0f, kLeastNormal = 0x1p-14f;
  const float size = std::fabs(score), part = static_cast<float>(noise >> 19) * 0x1p-13f;
  if (!(size < kMost)) return std::copysign(kMost, score);
  if (size < kLeastNormal)
    return std::copysign(std::floor(size * 0x1p24f + part), score) * 0x1p-24f;
  const uint32_t bits = (std::bit_cast<uint32_t>(size) + (noise >> 19)) & ~0x1fffu;
  return std::copysign(std::bit_cast<float>(bits), score);
}

std::unique_ptr<Scorer> make_scorer(const Plan::Slot& slot) {
#define KVKEEP_SCORER(name, ...) \
  if (slot.method == #name) return make_scorer_##name(slot);
#include "codec/scorer/methods.inc"
#undef KVKEEP_SCORER
  KVKEEP_CHECK(false, "scorer {}", slot.method);
}

}  // namespace kvkeep
