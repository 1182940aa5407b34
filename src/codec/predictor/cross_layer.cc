// AQUA-KV's predictor (Shutova et al. 2025, arXiv 2501.19392): the key of a layer from the key of
// the layer below, the value from this layer's key and the value of the layer below. At layer 0,
// which the paper codes without any, the value is predicted from its key.
//
// rank and per_head are cheaper forms: 3 width^2 products a row become 5 rank * width or 3 width *
// head_dim.
#include "codec/predictor/predictor.h"

namespace kvkeep {

PredictorForm make_predictor_cross_layer(const Plan::Slot& slot) {
  PredictorForm form;
  form.key = {Source::key_below};
  form.value = {Source::key, Source::value_below};
  form.rank = static_cast<int>(slot.number("rank"));
  form.bits = static_cast<int>(slot.number("bits"));
  form.per_head = slot.param("form") == "per_head";
  return form;
}

}  // namespace kvkeep
