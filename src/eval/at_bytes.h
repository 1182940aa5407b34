// Plans at equal bytes: each plan's own knob is turned until its cache measures what was asked for.
//
// The knob is `keep`, the share of important tokens. Bytes rise with it in steps: blocks of 64
// tokens, of one (layer, kv_head) where heads have places of their own. The nearest step is taken
// and its deviation told. Plans with chunks have the same tokens in every head, so their steps are
// a block of all heads; they take the last step that fits, and `fine`, the share of chunks at 4
// bits, takes what is left. Where keep=0, `fine` is the only knob.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "kvkeep/model.h"
#include "kvkeep/plan.h"
#include "kvkeep/progress.h"

namespace kvkeep {

// "20%" of the f16 cache's bytes, or "3.2" bits per value, as bytes of a cache of f16_bytes.
Result<size_t> parse_bytes(const std::string& text, size_t f16_bytes);

struct FittedPlan {
  Plan plan;
  double keep = 0, fine = 0;  // fine: of plans with chunks
  size_t bytes = 0;           // measured
  double deviation = 0;       // bytes / asked for - 1
};

// The bytes of a cache under a plan: whatever run the caller wants to compare plans on.
using MeasureBytes = std::function<Result<size_t>(const Plan&, const ProgressFn&)>;

// The plan with its knobs chosen to measure about `bytes`; a few runs. A plan without any (keep=0
// or 1: its bytes are fixed by its layouts) stays as it is if it takes 90 to 105 % of them.
// bad_input when it does not, or when a plan cannot come near.
Result<FittedPlan> fit_bytes(const Plan& plan, size_t bytes, const MeasureBytes& measure,
                             const ProgressFn& progress = {});

// The plan as typed, but with this `keep`; heads whose places do not follow scores get whole
// blocks.
Result<Plan> with_keep(const Plan& plan, double keep);
// The plan as typed, but with this share of fine chunks.
Result<Plan> with_fine(const Plan& plan, double fine);

}  // namespace kvkeep
