#include <algorithm>
#include <atomic>
#include <cmath>

#include "base/half.h"
#include "model/weights.h"

namespace kvkeep {
namespace {

constexpr float kMaxF16 = 65504.0f;
constexpr int64_t kItemValues = 1 << 16;
constexpr int64_t kBlockMultiple = 256;  // the longest block of any type

// Values first .. first+count-1 of the tensor; false when one is too large for the target type.
bool convert_range(const Tensor& tensor, TensorType target, int64_t first, int64_t count,
                   uint16_t* words) {
  const BlockSize block = tensor_block_size(tensor.type);
  float values[kBlockMultiple];
  for (int64_t at = first; at < first + count; at += kBlockMultiple) {
    const int64_t n = std::min(kBlockMultiple, first + count - at);
    dequantize(tensor.type, tensor.data.data() + at / block.values * block.bytes, values, n);
    for (int64_t i = 0; i < n; ++i) {
      if (target == TensorType::f16 && std::abs(values[i]) > kMaxF16) return false;
      words[at + i] = target == TensorType::f16 ? f32_to_f16(values[i]) : f32_to_bf16(values[i]);
    }
  }
  return true;
}

bool convert_all(const Tensor& tensor, TensorType target, ThreadPool& pool, uint16_t* words) {
  const int64_t values = tensor.rows() * tensor.columns();
  std::atomic<bool> fits{true};
  pool.run((values + kItemValues - 1) / kItemValues, [&](int64_t item, int) {
    const int64_t first = item * kItemValues;
    const int64_t count = std::min(kItemValues, values - first);
    if (fits && !convert_range(tensor, target, first, count, words)) fits = false;
  });
  return fits;
}

}  // namespace

size_t stored_row_bytes(const Tensor& tensor) {
  const BlockSize block = tensor_block_size(tensor.type);
  return static_cast<size_t>(tensor.columns() / block.values * block.bytes);
}

TensorType convert_to_16_bits(const Tensor& tensor, ThreadPool& pool,
                              AlignedBuffer<uint16_t>* words) {
  words->resize(static_cast<size_t>(tensor.rows() * tensor.columns()));
  if (convert_all(tensor, TensorType::f16, pool, words->data())) return TensorType::f16;
  convert_all(tensor, TensorType::bf16, pool, words->data());
  return TensorType::bf16;
}

}  // namespace kvkeep
