#define KVKEEP_TARGET avx512
#define KVKEEP_VEC "kernels/vec_avx512.h"
#include "kernels/make_table.h"

namespace kvkeep::avx512 {

extern const KernelTable kTable = make_table("avx512");

}  // namespace kvkeep::avx512
