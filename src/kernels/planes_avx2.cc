#include <immintrin.h>

#include <cstdint>

#define KVKEEP_TARGET avx2
namespace kvkeep::KVKEEP_TARGET {

inline uint64_t above(const uint16_t* x, uint16_t threshold) {
  const __m256i limit = _mm256_set1_epi16(static_cast<int16_t>(threshold));
  const auto greater = [&](const uint16_t* p) {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm256_cmpgt_epi16(words, limit);
  };
  const __m256i bytes = _mm256_packs_epi16(greater(x), greater(x + 16));
  return static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_permute4x64_epi64(bytes, 0xd8)));
}

}  // namespace kvkeep::KVKEEP_TARGET

#include "kernels/planes_table.h"

namespace kvkeep::KVKEEP_TARGET {
const PlaneKernels kPlanes = {bits_above, hamming_digits, hamming_match};
}
