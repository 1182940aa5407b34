#include "codec/representatives/representatives.h"

#include "base/check.h"
#include "codec/demote.h"

namespace kvkeep {

std::vector<size_t> candidates(const HeadRows& rows) {
  const int count = rows.leave + rows.representatives;
  if (count == 0) return {};
  std::vector<uint64_t> orders(rows.size());
  for (size_t i = 0; i < orders.size(); ++i)
    orders[i] = demotion_order(rows.pinned[i], rows.scores[i], i);
  return lowest(orders, count);
}

std::vector<uint8_t> stay_but(const HeadRows& rows, std::span<const size_t> candidates,
                              std::span<const size_t> picks) {
  std::vector<uint8_t> stays(rows.size(), 1);
  for (size_t row : candidates) stays[row] = 0;
  for (size_t pick : picks) stays[candidates[pick]] = 1;
  return stays;
}

std::unique_ptr<Representatives> make_representatives(const Plan::Slot& slot) {
  if (slot.method == "none") return nullptr;
#define KVKEEP_REPRESENTATIVES(function, name, ...) \
  if (slot.method == name) return make_representatives_##function(slot);
#include "codec/representatives/methods.inc"
#undef KVKEEP_REPRESENTATIVES
  KVKEEP_CHECK(false, "representatives {}", slot.method);
}

}  // namespace kvkeep
