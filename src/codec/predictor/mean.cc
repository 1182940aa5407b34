// Every row of a layer is predicted to be the mean of the calibration text: most of a key's power
// before RoPE is one constant vector.
#include "codec/predictor/predictor.h"

namespace kvkeep {

PredictorForm make_predictor_mean(const Plan::Slot&) { return {}; }

}  // namespace kvkeep
