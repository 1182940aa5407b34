// oneDNN as a rival in gemm_bench; a stand-in without it where it is not installed.
#pragma once

namespace kvkeep::bench {

bool have_onednn();

// c[m][n] = a[m][k] * b[n][k]^T.
void onednn_gemm_nt(int m, int n, int k, const float* a, const float* b, float* c);

}  // namespace kvkeep::bench
