#define KVKEEP_TARGET scalar
#define KVKEEP_VEC "kernels/vec_scalar.h"
#include "kernels/make_table.h"

namespace kvkeep::scalar {

extern const KernelTable kTable = make_table("scalar");

}  // namespace kvkeep::scalar
