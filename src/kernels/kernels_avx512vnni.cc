#define KVKEEP_TARGET avx512vnni
#define KVKEEP_VEC "kernels/vec_avx512.h"
#include "kernels/make_table.h"

namespace kvkeep::avx512vnni {

extern const KernelTable kTable = make_table("avx512vnni");

}  // namespace kvkeep::avx512vnni
