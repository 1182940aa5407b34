#define KVKEEP_TARGET avx2
namespace kvkeep::KVKEEP_TARGET {
inline constexpr int kSearchLanes = 8;
}  // namespace kvkeep::KVKEEP_TARGET

#include "kernels/nearest_lanes.h"
