// How important a token is: higher = keep. One score per token of one (layer, kv_head), held in the
// cache beside the token; a scorer updates them after every read.
//
// A method is one .cc file and one row in methods.inc. Scorers are stateless after construction and
// are called for different (layer, kv_head) from several threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "codec/registry.h"
#include "kvkeep/plan.h"

namespace kvkeep {

struct ScoreUpdate {
  int layer = 0, kv_head = 0;
  // Some slots of one tier, all spans of equal length.
  std::span<const int32_t> positions;
  // Softmax probability the token received in this read, summed over the rows of the read and the
  // q_heads of its kv_head; empty unless the scorer observes attention.
  std::span<const float> mass;
  std::span<float> scores;  // in and out; 0 when the token enters
};

class Scorer {
 public:
  virtual ~Scorer() = default;
  virtual void update(const ScoreUpdate& update) const = 0;
};

#define KVKEEP_SCORER(name, ...) std::unique_ptr<Scorer> make_scorer_##name(const Plan::Slot& slot);
#include "codec/scorer/methods.inc"
#undef KVKEEP_SCORER

// The scorer a plan's slot names.
std::unique_ptr<Scorer> make_scorer(const Plan::Slot& slot);

}  // namespace kvkeep
