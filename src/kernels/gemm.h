// C = A * B^T in float32 for prompts: a thin wrapper over a BLAS, so that the library can be
// changed in one place (the choice is measured by bench/gemm_bench).
//
// The same call gives the same bits, from any thread. Cutting m or n differently does not: the
// library picks its inner kernels by shape and by processor (OPENBLAS_CORETYPE names others;
// KVKEEP_ISA does not reach it). Who
// must not depend on the number of threads cuts the work into pieces of fixed size.
#pragma once

namespace kvkeep {

// c[m][ldc] = alpha * a[m][lda] * b[n][ldb]^T + beta * c; k is the shared dimension. One thread:
// the caller splits the work. Safe to call from several threads.
void gemm_nt(int m, int n, int k, float alpha, const float* a, int lda, const float* b, int ldb,
             float beta, float* c, int ldc);

// c[m][ldc] = alpha * a[m][lda] * b[k][ldb] + beta * c.
void gemm_nn(int m, int n, int k, float alpha, const float* a, int lda, const float* b, int ldb,
             float beta, float* c, int ldc);

}  // namespace kvkeep
