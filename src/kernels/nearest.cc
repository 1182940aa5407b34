#include "kernels/nearest.h"

#include <string_view>

#include "kernels/isa.h"

namespace kvkeep {

NearestFn nearest_kernel() {
#if defined(__x86_64__)
  const std::string_view name = kernels().name;
  if (name.starts_with("avx512")) return avx512::kNearest;
  if (name == "avx2") return avx2::kNearest;
#endif
  return scalar::kNearest;
}

}  // namespace kvkeep
