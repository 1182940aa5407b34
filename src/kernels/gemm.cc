// OpenBLAS 0.3.21, not oneDNN 2.6. bench/gemm_bench on one core of a Zen 3 EPYC, GFLOP/s, medians
// of 7 interleaved rounds, processor time: 86-89 against 76-84 where k or n * k is large (m 256),
// 74-88 against 81-92 for small shapes (k 256 or m 64). oneDNN also brings OpenMP threads.
#include "kernels/gemm.h"

#include <cblas.h>

#include <cstdlib>
#include <cstring>
#include <mutex>

#include "kernels/isa.h"

// Not in its headers, and only in builds that hold kernels for several processors.
extern "C" {
[[gnu::weak]] void gotoblas_dynamic_init();
[[gnu::weak]] void gotoblas_dynamic_quit();
}

namespace kvkeep {
namespace {

// The library chooses its kernels when it is loaded, by processor model. A model younger than the
// library gets SSE3 kernels (0.3.21 runs "Prescott" on an Emerald Rapids, and reads a prompt at 40
// % of the speed). It then chooses again, by what the processor can do.
void choose_blas_kernels() {
  const char* best = runnable_kernels().back()->name;
  const char* core = std::strncmp(best, "avx512", 6) == 0 ? "SkylakeX" : "Haswell";
  if (std::strcmp(openblas_get_corename(), "Prescott") != 0 || std::strcmp(best, "scalar") == 0 ||
      !gotoblas_dynamic_init || !gotoblas_dynamic_quit)
    return;
  setenv("OPENBLAS_CORETYPE", core, 0);
  gotoblas_dynamic_quit();
  gotoblas_dynamic_init();
}

void gemm(CBLAS_TRANSPOSE transpose_b, int m, int n, int k, float alpha, const float* a, int lda,
          const float* b, int ldb, float beta, float* c, int ldc) {
  // The library would otherwise start threads of its own beside ours.
  static std::once_flag prepared;
  std::call_once(prepared, [] {
    choose_blas_kernels();
    openblas_set_num_threads(1);
  });
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
