#include "codec/transform/transform.h"

#include "base/check.h"

namespace kvkeep {

std::unique_ptr<Transform> make_transform(const Plan::Slot& slot, const TransformContext& context) {
  if (slot.method == "none") return nullptr;
#define KVKEEP_TRANSFORM(name, ...) \
  if (slot.method == #name) return make_transform_##name(slot, context);
#include "codec/transform/methods.inc"
#undef KVKEEP_TRANSFORM
  KVKEEP_CHECK(false, "transform {}", slot.method);
}

}  // namespace kvkeep
