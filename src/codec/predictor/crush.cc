// What another predictor leaves of a row, less what it left of the nearest of some rows of the same
// chunk (codec/crush.h). Tokens that are alike pay once.
#include "codec/predictor/predictor.h"

namespace kvkeep {

PredictorForm make_predictor_crush(const Plan::Slot& slot) {
  PredictorForm form;
  const std::string base = slot.param("base");
  form.constant = base != "none";
  if (base == "cross_layer") {
    form.key = {Source::key_below};
    form.value = {Source::key, Source::value_below};
    form.bits = 8;
  }
  form.crush = {static_cast<int>(slot.number("index")), static_cast<float>(slot.number("gain")),
                static_cast<int>(slot.number("near"))};
  return form;
}

}  // namespace kvkeep
