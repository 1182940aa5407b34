#include "codec/scorer/scorer.h"

#include "base/check.h"

namespace kvkeep {

std::unique_ptr<Scorer> make_scorer(const Plan::Slot& slot) {
#define KVKEEP_SCORER(name, ...) \
  if (slot.method == #name) return make_scorer_##name(slot);
#include "codec/scorer/methods.inc"
#undef KVKEEP_SCORER
  KVKEEP_CHECK(false, "scorer {}", slot.method);
}

}  // namespace kvkeep
