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

// How the q_heads that share a kv_head count together: their attention added up, averaged, or the
// largest of them in each row. Sum and mean rank alike while scores stay within f16 range.
enum class GqaAggregate { sum, mean, max };

// The nearest-below or nearest-above value f16 can hold, the likelier the nearer: a kept score may
// grow by far less than one step of f16 and still grows on average. `noise` is any well mixed word.
float round_score(float score, uint32_t noise);

// What one read showed of some slots of one tier; all spans of equal length.
struct ScoreUpdate {
  // Softmax probability each token received, summed over the observed rows of the read and taken
  // over the q_heads of its kv_head as `gqa` says.
  std::span<const float> mass;
  int rows = 1;             // how many rows were observed
  std::span<float> scores;  // in and out; 0 when a token enters
};

// The rows of one tier that compete for its places.
struct RankInput {
  int layer = 0, kv_head = 0;
  int tokens = 0;                      // seen so far
  std::span<const int32_t> positions;  // ascending
};

class Scorer {
 public:
  virtual ~Scorer() = default;

  // Scorers that observe attention keep one score per token in the cache and update it after every
  // read. Of a read whose last row stands at `last`, only rows for which this is true are shown.
  virtual bool observes_row(int /*position*/, int /*last*/) const { return true; }
  virtual void update(const ScoreUpdate&) const {}
  // The score a token enters with; its key [head_dim] after RoPE.
  virtual float first_score(std::span<const float> /*key*/) const { return 0.0f; }

  // Final scores, before rows are chosen: in come the kept scores (zero if there are none).
  virtual void rank(const RankInput&, std::span<float> /*scores*/) const {}
};

#define KVKEEP_SCORER(name, ...) std::unique_ptr<Scorer> make_scorer_##name(const Plan::Slot& slot);
#include "codec/scorer/methods.inc"
#undef KVKEEP_SCORER

// The scorer a plan's slot names.
std::unique_ptr<Scorer> make_scorer(const Plan::Slot& slot);

}  // namespace kvkeep
