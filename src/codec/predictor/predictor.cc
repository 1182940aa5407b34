#include "codec/predictor/predictor.h"

#include <algorithm>

#include "base/check.h"

namespace kvkeep {

std::vector<Source> PredictorForm::sources(int layer, Side side) const {
  std::vector<Source> found = side == Side::key ? key : value;
  if (layer == 0) std::erase_if(found, [](Source source) { return source != Source::key; });
  return found;
}

MapShape PredictorForm::shape(int layer, Side side, int kv_heads, int head_dim) const {
  MapShape shape;
  shape.sources = static_cast<int>(sources(layer, side).size());
  shape.width = kv_heads * head_dim;
  shape.heads = per_head ? kv_heads : 1;
  shape.rank = shape.sources > 0 && rank < shape.width ? rank : 0;
  shape.bits = bits;
  shape.constant = constant;
  return shape;
}

PredictorForm make_predictor(const Plan::Slot& slot) {
#define KVKEEP_PREDICTOR(name, ...) \
  if (slot.method == #name) return make_predictor_##name(slot);
#include "codec/predictor/methods.inc"
#undef KVKEEP_PREDICTOR
  KVKEEP_CHECK(false, "predictor {}", slot.method);
}

}  // namespace kvkeep
