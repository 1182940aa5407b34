#define KVKEEP_TARGET avx512
namespace kvkeep::KVKEEP_TARGET {
inline constexpr int kSearchLanes = 16;
}  // namespace kvkeep::KVKEEP_TARGET

#include "kernels/nearest_lanes.h"
