// One rung of the ladder of precisions: how the rows of a tier are stored.
#pragma once

#include <cstdint>

#include "cache/tier.h"
#include "kernels/layout.h"

namespace kvkeep {

enum class Rung : uint8_t { exact, high, mid, low };

struct Level {
  PartShape k, v;
  bool coded = false;   // quantized, in the transformed basis; else exact f16
  bool scored = false;  // stores a score per slot
  Rung rung = Rung::exact;
  Positions positions = Positions::bits32;
  int first_position = 0;  // of slot 0, where positions are in order
  bool unbiased = false;   // codebooks: scales as dot products want them (codec/points.h)
  int head_scores = 0;     // of a slot beside its score: one a q_head, or none
  bool masses = false;     // slots may stand for several tokens

  // Rows enter and leave in groups of so many, in order: those that share a scale (codec/kivi.h).
  int step() const { return by_channel(k.id) ? kChannelTokens : 1; }

  TierShape tier_shape() const {
    return {k.bytes(), v.bytes(), scored, positions, first_position, head_scores, masses};
  }
};

}  // namespace kvkeep
