#include "codec/scorer/scorer.h"

#include <bit>
#include <cstdint>

#include "base/check.h"

namespace kvkeep {

namespace {

int32_t bits_of(float x) { return std::bit_cast<int32_t>(x); }

int32_t choose(bool first, int32_t a, int32_t b) {
  const int32_t mask = -static_cast<int32_t>(first);
  return (a & mask) | (b & ~mask);
}

// Without a branch, so that loops of it become vector code; sizes are compared as integers.
float rounded(float score, uint32_t noise) {
  constexpr int32_t kSign = INT32_MIN;
  const int32_t most = bits_of(65504.0f), least_normal = bits_of(0x1p-14f);
  const auto part = static_cast<int32_t>(noise >> 19);
  const int32_t size = bits_of(score) & ~kSign, small = choose(size < least_normal, size, 0);
  const float steps = std::bit_cast<float>(small) * 0x1p24f + static_cast<float>(part) * 0x1p-13f;
  const int32_t subnormal = bits_of(static_cast<float>(static_cast<int32_t>(steps)) * 0x1p-24f);
  const int32_t near = choose(size < least_normal, subnormal, (size + part) & ~0x1fff);
  return std::bit_cast<float>(choose(size < most, near, most) | (bits_of(score) & kSign));
}

}  // namespace

float round_score(float score, uint32_t noise) { return rounded(score, noise); }

void round_scores(std::span<float, kRoundedScores> scores, uint32_t noise) {
  constexpr uint32_t kGolden = 0x9e3779b9u;  // steps that spread evenly over all words
  for (uint32_t i = 0; i < kRoundedScores; ++i) scores[i] = rounded(scores[i], noise + i * kGolden);
}

std::unique_ptr<Scorer> make_scorer(const Plan::Slot& slot) {
#define KVKEEP_SCORER(name, ...) \
  if (slot.method == #name) return make_scorer_##name(slot);
#include "codec/scorer/methods.inc"
#undef KVKEEP_SCORER
  KVKEEP_CHECK(false, "scorer {}", slot.method);
}

}  // namespace kvkeep
