// The tensor types of GGUF files and their values as float32.
#include "model/quant_types.h"

#include "base/check.h"
#include "model/gguf.h"

namespace kvkeep {
namespace {

void dequantize_f32(const std::byte* in, float* out) { std::memcpy(out, in, sizeof *out); }

void dequantize_f16(const std::byte* in, float* out) { *out = load_f16(in); }

void dequantize_bf16(const std::byte* in, float* out) {
  BF16 b;
  std::memcpy(&b, in, sizeof b);
  *out = bf16_to_f32(b);
}

// f16 scale, 32 signed bytes.
void dequantize_q8_0(const std::byte* in, float* out) {
  const float scale = load_f16(in);
  for (int i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(static_cast<int8_t>(in[2 + i]));
}

// f16 scale, 16 bytes: value i in the low half of byte i, value i + 16 in the high half.
void dequantize_q4_0(const std::byte* in, float* out) {
  const float scale = load_f16(in);
  for (int i = 0; i < 16; ++i) {
    const auto pair = static_cast<int>(in[2 + i]);
    out[i] = scale * static_cast<float>((pair & 15) - 8);
    out[i + 16] = scale * static_cast<float>((pair >> 4) - 8);
  }
}

// As q4_0 with an f16 minimum after the scale instead of the offset 8.
void dequantize_q4_1(const std::byte* in, float* out) {
  const float scale = load_f16(in), minimum = load_f16(in + 2);
  for (int i = 0; i < 16; ++i) {
    const auto pair = static_cast<int>(in[4 + i]);
    out[i] = scale * static_cast<float>(pair & 15) + minimum;
    out[i + 16] = scale * static_cast<float>(pair >> 4) + minimum;
  }
}

struct TypeInfo {
  TensorType type;
  const char* name;
  BlockSize block;
  void (*dequantize_block)(const std::byte*, float*);
};
constexpr TypeInfo kTypes[] = {
    {TensorType::f32, "f32", {1, 4}, dequantize_f32},
    {TensorType::f16, "f16", {1, 2}, dequantize_f16},
    {TensorType::bf16, "bf16", {1, 2}, dequantize_bf16},
    {TensorType::q8_0, "q8_0", {32, 34}, dequantize_q8_0},
    {TensorType::q4_0, "q4_0", {32, 18}, dequantize_q4_0},
    {TensorType::q4_1, "q4_1", {32, 20}, dequantize_q4_1},
    {TensorType::q4_k, "q4_k", {256, 144}, dequantize_q4_k},
    {TensorType::q5_k, "q5_k", {256, 176}, dequantize_q5_k},
    {TensorType::q6_k, "q6_k", {256, 210}, dequantize_q6_k},
};

const TypeInfo& info(TensorType type) {
  for (const TypeInfo& row : kTypes)
    if (row.type == type) return row;
  KVKEEP_CHECK(false, "tensor type {}", static_cast<uint32_t>(type));
  return kTypes[0];
}

}  // namespace

const char* tensor_type_name(TensorType type) { return info(type).name; }

BlockSize tensor_block_size(TensorType type) { return info(type).block; }

void dequantize(TensorType type, const std::byte* in, float* out, int64_t n) {
  const TypeInfo& row = info(type);
  KVKEEP_CHECK(n % row.block.values == 0, "{} values of {}", n, row.name);
  for (int64_t i = 0; i < n; i += row.block.values, in += row.block.bytes)
    row.dequantize_block(in, out + i);
}

}  // namespace kvkeep
