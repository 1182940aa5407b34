// Ridge regression with an intercept from a stream of rows: only moments are held, so memory does
// not grow with the text.
//
//   minimise |Y - b - X W|^2 + lambda |W|^2,  lambda = ridge * mean of the variances of X
//
// Moments are taken around the first rows' means, in blocks of float32 products that every machine
// sums in the same order, and added up in double.
#pragma once

#include <cstdint>
#include <vector>

namespace kvkeep {

struct RidgeMap {
  std::vector<float> weights;  // [inputs][outputs]; with a rank A [inputs][rank], B [rank][outputs]
  std::vector<float> bias;     // [outputs]
};

class Ridge {
 public:
  Ridge(int inputs, int outputs);

  // x [rows][inputs], y [rows][outputs].
  void add(const float* x, const float* y, int rows);
  // rank 0: full; else the best map of that rank for what the full map predicts. heads > 1: every
  // output is solved for from its own head's inputs alone (zero elsewhere); `inputs` is then a
  // number of sources of `outputs` channels each.
  RidgeMap solve(double ridge, int rank = 0, int heads = 1) const;

 private:
  std::vector<double> solve_block(const std::vector<int>& in, const std::vector<int>& out,
                                  double lambda) const;
  std::vector<double> solve_heads(double ridge, int heads) const;
  void reduce(const std::vector<double>& full, int rank, std::vector<double>* left,
              std::vector<double>* right) const;

  int inputs_, outputs_;
  int64_t rows_ = 0;
  std::vector<float> shift_;     // [inputs + outputs], subtracted from every row
  std::vector<double> sum_;      // [inputs + outputs]
  std::vector<double> moments_;  // [inputs][inputs + outputs]
};

// Solves the symmetric positive definite a [n][n] x = b [n][m] in place of b, by Cholesky; false if
// a is not positive definite. a is overwritten.
bool solve_spd(std::vector<double>& a, int n, std::vector<double>& b, int m);

// The r leading eigenvectors of the symmetric positive semidefinite c [n][n], as rows [r][n].
std::vector<double> leading_eigenvectors(const std::vector<double>& c, int n, int r);

}  // namespace kvkeep
