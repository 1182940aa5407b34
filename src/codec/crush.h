// Representatives inside a chunk: the rows of one layer and side, most of them as what is left
// after the row that stands for them (KVCrush's representatives, Jha et al. 2025, arXiv 2503.00022,
// as references instead of survivors).
//
//   side = [numbers of the r representatives][index of every row, b bits]
//          [codes of the representatives][codes of the others]
//
//   other row  x ~ gain * representative as decoded; index 0: nothing is taken off
//
// Representatives are picked one by one, each the row that takes most power off the others that it
// may stand for. A row takes the nearest of those whose signature differs from its own in at most
// `near` bits; all of them unless told otherwise, because distance in the space of rows is what
// counts in the end. A signature has a bit a kv_head: whether its part of the row is longer than
// the median row's. Only the encoder needs it, so it is not stored. Rows are what a predictor left,
// so prediction from other layers and from other tokens add up.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "codec/higgs.h"

namespace kvkeep {

struct CrushForm {
  int index_bits = 0;  // 2^index_bits - 1 representatives at most, 0: there are none
  float gain = 1;
  int near = 1024;  // most bits between the signatures of a row and of its representative
};

class Crush {
 public:
  // Rows are `heads` equal parts.
  Crush(const CrushForm& form, int heads, Higgs representative, Higgs other);

  int representatives(int rows) const;  // of so many rows: at most a quarter of them
  size_t bytes(int rows) const;

  // rows [count][width] become what decode() gives; [bytes(count)] go to codes.
  Result<void> encode(float* rows, int count, std::byte* codes) const;
  // Rows first .. first+n-1 of `count`.
  void decode(const std::byte* codes, int count, int first, int n, float* rows) const;

 private:
  // May row b stand for row a?
  using Near = std::function<bool(size_t a, size_t b)>;
  Near make_near(const float* rows, int count) const;
  std::vector<int> pick(const std::vector<float>& dots, int count, const Near& near) const;

  CrushForm form_;
  int heads_;
  Higgs representative_, other_;
};

}  // namespace kvkeep
