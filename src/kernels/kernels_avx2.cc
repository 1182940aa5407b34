#define KVKEEP_TARGET avx2
#define KVKEEP_VEC "kernels/vec_avx2.h"
#include "kernels/make_table.h"

namespace kvkeep::avx2 {

extern const KernelTable kTable = make_table("avx2");

}  // namespace kvkeep::avx2
