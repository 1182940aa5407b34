#define KVKEEP_TARGET scalar
namespace kvkeep::KVKEEP_TARGET {
inline constexpr int kSearchLanes = 4;
}  // namespace kvkeep::KVKEEP_TARGET

#include "kernels/nearest_lanes.h"
