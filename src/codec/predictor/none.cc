// Nothing is predicted: rows are coded as they are. Needs no calibration.
#include "codec/predictor/predictor.h"

namespace kvkeep {

PredictorForm make_predictor_none(const Plan::Slot&) { return {.constant = false}; }

}  // namespace kvkeep
