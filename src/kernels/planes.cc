#include "kernels/planes.h"

#include <string_view>

#include "kernels/isa.h"

namespace kvkeep {

const PlaneKernels& plane_kernels() {
#if defined(__x86_64__)
  if (kernels().name != std::string_view("scalar")) return avx2::kPlanes;
#endif
  return scalar::kPlanes;
}

}  // namespace kvkeep
