// OpenBLAS 0.3.21, not oneDNN 2.6. bench/gemm_bench on one core of a Zen 3 EPYC, GFLOP/s, medians
// of 7 interleaved rounds, processor time: 86-89 against 76-84 where k or n * k is large (m 256),
// 74-88 against 81-92 for small shapes (k 256 or m 64). oneDNN also brings OpenMP threads.
#include "kernels/gemm.h"

#include <cblas.h>

#include <mutex>

namespace kvkeep {
namespace {

void gemm(CBLAS_TRANSPOSE transpose_b, int m, int n, int k, float alpha, const float* a, int lda,
          const float* b, int ldb, float beta, float* c, int ldc) {
  // The library would otherwise start threads of its own beside ours.
  static std::once_flag one_thread;
  std::call_once(one_thread, [] { openblas_set_num_threads(1); });
  if (m <= 0 || n <= 0) return;
  cblas_sgemm(CblasRowMajor, CblasNoTrans, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c,
              ldc);
}

}  // namespace

void gemm_nt(int m, int n, int k, float alpha, const float* a, int lda, const float* b, int ldb,
             float beta, float* c, int ldc) {
  gemm(CblasTrans, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void gemm_nn(int m, int n, int k, float alpha, const float* a, int lda, const float* b, int ldb,
             float beta, float* c, int ldc) {
  gemm(CblasNoTrans, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

}  // namespace kvkeep
