// Cosines and sines of RoPE's angles at every position, as two small tables: position p is
// kStride * coarse + fine, and an angle of a sum is a product of both. They depend on the model and
// the context alone, so all sequences of a model hold the same one.
#pragma once

#include <memory>

#include "base/aligned_buffer.h"
#include "kernels/rope.h"

namespace kvkeep {

class Waves {
 public:
  static constexpr int kStride = 64;

  // The table for positions 0 .. context-1; the one that another holder still has, if any does.
  // Safe from several threads.
  static std::shared_ptr<const Waves> of(const RopeConfig& rope, int context);

  Waves(const RopeConfig& rope, int context);

  int pairs() const { return pairs_; }
  // [cos of each pair, then sin of each pair] of positions n and kStride * n.
  const float* fine(int n) const { return fine_.data() + row(n); }
  const float* coarse(int n) const { return coarse_.data() + row(n); }
  // cos and sin [pairs] of one position.
  void angles(int position, float* cosine, float* sine) const;
  size_t bytes() const { return fine_.bytes() + coarse_.bytes(); }

 private:
  ptrdiff_t row(int n) const { return static_cast<ptrdiff_t>(n) * 2 * pairs_; }

  int pairs_;
  AlignedBuffer<float> fine_;    // positions 0 .. kStride-1
  AlignedBuffer<float> coarse_;  // positions 0, kStride, 2 kStride, ... < context
};

}  // namespace kvkeep
