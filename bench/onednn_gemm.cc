#include "bench/onednn_gemm.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>

namespace kvkeep::bench {

bool have_onednn() {
  omp_set_num_threads(1);  // of its loops; the others are not measured with more either
  return true;
}

void onednn_gemm_nt(int m, int n, int k, const float* a, const float* b, float* c) {
  dnnl_sgemm('N', 'T', m, n, k, 1.0f, a, k, b, k, 0.0f, c, n);
}

}  // namespace kvkeep::bench
