// Fits a plan's predictors to a model: layer by layer, on rows as the decoder will have them.
//
// The text flows through the model with an exact cache. Layer l's maps are fitted to what the codec
// gives back of layer l-1 (and of this layer's keys), then this layer's rows are coded with them
// and become the next inputs. Rows of as few layers as memory allows are held at a time; the model
// reads the text again for the next ones.
#pragma once

#include <vector>

#include "base/thread_pool.h"
#include "codec/calibration.h"
#include "kvkeep/model.h"
#include "kvkeep/progress.h"

namespace kvkeep {

struct CalibrateInput {
  const Model& model;
  const Plan& plan;
  std::vector<std::vector<int32_t>> windows;  // tokens; of sixteen two are held out
  int threads = 0;                            // 0: all cores
  size_t most_bytes = size_t{512} << 20;      // of rows held at once, about
};

// bad_input: the plan needs no calibration, or there is too little text.
Result<Calibration> calibrate(const CalibrateInput& in, const ProgressFn& progress);

}  // namespace kvkeep
