#include <cstdint>

#define KVKEEP_TARGET scalar
namespace kvkeep::KVKEEP_TARGET {

inline uint64_t above(const uint16_t* x, uint16_t threshold) {
  uint64_t bits = 0;
  for (int i = 0; i < 32; ++i)
    bits |= uint64_t{static_cast<int16_t>(x[i]) > static_cast<int16_t>(threshold)} << i;
  return bits;
}

}  // namespace kvkeep::KVKEEP_TARGET

#include "kernels/planes_table.h"

namespace kvkeep::KVKEEP_TARGET {
const PlaneKernels kPlanes = {bits_above, hamming_digits, hamming_match};
}
