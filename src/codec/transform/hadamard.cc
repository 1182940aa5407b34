// Rotates keys and values by a block-diagonal Walsh-Hadamard matrix, which spreads outlier channels
// over their block (QuaRot, Ashkboos et al. 2024, arXiv 2404.00456). Keys are rotated after RoPE,
// so the query is rotated once per read instead of every key; values are rotated back once on the
// output. Blocks are the largest power of two that divides head_dim, or a smaller cap: no padding.
//
// Random signs before the rotation (HIGGS, TurboQuant) keep a row that is nearly constant, as some
// keys are, from becoming one spike: without them the rotation of a constant is one.
#include "base/rng.h"
#include "codec/transform/transform.h"
#include "kernels/isa.h"

namespace kvkeep {
namespace {

int block_size(int head_dim, int cap) {
  int size = 1;
  while (head_dim % (2 * size) == 0 && (cap == 0 || 2 * size <= cap)) size *= 2;
  return size;
}

class Hadamard : public Transform {
 public:
  Hadamard(int head_dim, int key_cap, int value_cap, int seed)
      : head_dim_(head_dim),
        key_size_(block_size(head_dim, key_cap)),
        value_size_(block_size(head_dim, value_cap)) {
    if (seed == 0) return;
    Rng rng(static_cast<uint64_t>(seed));
    for (auto* signs : {&key_signs_, &value_signs_})
      for (int i = 0; i < head_dim; ++i) signs->push_back(rng.next() >> 63 ? -1.0f : 1.0f);
  }

  std::unique_ptr<Transform> clone() const override { return std::make_unique<Hadamard>(*this); }
  int order() const override { return 2; }
  void forward_key(HeadIndex, float* key, int) const override { query({}, key, 1, head_dim_); }
  void inverse_key(HeadIndex, float* key, int) const override {
    rotate(key, 1, head_dim_, key_size_);
    flip(key, 1, head_dim_, key_signs_);
  }
  void forward_value(float* value) const override {
    flip(value, 1, head_dim_, value_signs_);
    rotate(value, 1, head_dim_, value_size_);
  }
  void inverse_value(float* rows, int count, int stride) const override {
    rotate(rows, count, stride, value_size_);
    flip(rows, count, stride, value_signs_);
  }
  void query(HeadIndex, float* rows, int count, int stride) const override {
    flip(rows, count, stride, key_signs_);
    rotate(rows, count, stride, key_size_);
  }
  size_t shared_bytes() const override {
    return (key_signs_.capacity() + value_signs_.capacity()) * sizeof(float);
  }

 private:
  using Signs = std::vector<float>;  // [head_dim], or empty

  void rotate(float* rows, int count, int stride, int size) const {
    kernels().hadamard(rows, count, stride, head_dim_, size);
  }
  void flip(float* rows, int count, int stride, const Signs& signs) const {
    for (int row = 0; row < count && !signs.empty(); ++row, rows += stride)
      for (int i = 0; i < head_dim_; ++i) rows[i] *= signs[static_cast<size_t>(i)];
  }

  int head_dim_, key_size_, value_size_;
  Signs key_signs_, value_signs_;
};

}  // namespace

std::unique_ptr<Transform> make_transform_hadamard(const Plan::Slot& slot,
                                                   const TransformContext& context) {
  return std::make_unique<Hadamard>(context.head_dim, static_cast<int>(slot.number("k")),
                                    static_cast<int>(slot.number("v")),
                                    static_cast<int>(slot.number("signs")));
}

}  // namespace kvkeep
