// Keys are predicted to be their mean, values follow from the token's key in the same layer: the
// best single source of a value, and no layer waits for the one below.
#include "codec/predictor/predictor.h"

namespace kvkeep {

PredictorForm make_predictor_v_from_k(const Plan::Slot& slot) {
  PredictorForm form;
  form.value = {Source::key};
  form.rank = static_cast<int>(slot.number("rank"));
  form.bits = static_cast<int>(slot.number("bits"));
  form.per_head = slot.param("form") == "per_head";
  return form;
}

}  // namespace kvkeep
