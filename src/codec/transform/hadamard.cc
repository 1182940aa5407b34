// Rotates keys and values by a block-diagonal Walsh-Hadamard matrix, which spreads outlier channels
// over their block (QuaRot, Ashkboos et al. 2024, arXiv 2404.00456). Keys are rotated after RoPE,
// so the query is rotated once per read instead of every key; values are rotated back once on the
// output. Blocks are the largest power of two that divides head_dim, or a smaller cap: no padding.
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
  Hadamard(int head_dim, int key_cap, int value_cap)
      : head_dim_(head_dim),
        key_size_(block_size(head_dim, key_cap)),
        value_size_(block_size(head_dim, value_cap)) {}

  std::unique_ptr<Transform> clone() const override { return std::make_unique<Hadamard>(*this); }
  int order() const override { return 2; }
  void forward_key(HeadIndex, float* key, int) const override { rotate(key, 1, 0, key_size_); }
  void inverse_key(HeadIndex, float* key, int) const override { rotate(key, 1, 0, key_size_); }
  void forward_value(float* value) const override { rotate(value, 1, 0, value_size_); }
  void inverse_value(float* rows, int count, int stride) const override {
    rotate(rows, count, stride, value_size_);
  }
  void query(HeadIndex, float* rows, int count, int stride) const override {
    rotate(rows, count, stride, key_size_);
  }

 private:
  void rotate(float* rows, int count, int stride, int size) const {
    kernels().hadamard(rows, count, stride, head_dim_, size);
  }

  int head_dim_, key_size_, value_size_;
};

}  // namespace

std::unique_ptr<Transform> make_transform_hadamard(const Plan::Slot& slot,
                                                   const TransformContext& context) {
  return std::make_unique<Hadamard>(context.head_dim, static_cast<int>(slot.number("k")),
                                    static_cast<int>(slot.number("v")));
}

}  // namespace kvkeep
