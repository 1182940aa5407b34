#include <gtest/gtest.h>

#include <bit>
#include <map>
#include <sstream>

#include "model/gguf.h"
#include "model/mixed_text.h"

namespace kvkeep {
namespace {

const std::map<std::string, TensorType> kTypes = {
    {"f32", TensorType::f32},   {"f16", TensorType::f16},   {"bf16", TensorType::bf16},
    {"q8_0", TensorType::q8_0}, {"q4_0", TensorType::q4_0}, {"q4_1", TensorType::q4_1},
    {"q4_k", TensorType::q4_k}, {"q5_k", TensorType::q5_k}, {"q6_k", TensorType::q6_k}};

// tests/golden/make_quant_golden.py: the values are those of the gguf package, to the last bit.
TEST(QuantTypes, DequantizeAsTheGgufPackageDoes) {
  const auto lines = golden_lines("quant_types.txt");
  ASSERT_EQ(lines.size(), 8u);
  for (const std::string& line : lines) {
    std::istringstream row(line);
    std::string name, hex, bits;
    row >> name >> hex >> bits;
    std::vector<std::byte> bytes;
    for (size_t i = 0; i < hex.size(); i += 2)
      bytes.push_back(static_cast<std::byte>(std::stoul(hex.substr(i, 2), nullptr, 16)));
    std::vector<float> values(bits.size() / 8);
    const BlockSize block = tensor_block_size(kTypes.at(name));
    ASSERT_EQ(static_cast<int64_t>(bytes.size()) / block.bytes * block.values,
              static_cast<int64_t>(values.size()));
    dequantize(kTypes.at(name), bytes.data(), values.data(), static_cast<int64_t>(values.size()));
    for (size_t i = 0; i < values.size(); ++i)
      EXPECT_EQ(values[i], std::bit_cast<float>(static_cast<uint32_t>(
                               std::stoul(bits.substr(8 * i, 8), nullptr, 16))))
          << name << " value " << i;
  }
}

TEST(QuantTypes, NamesAndBlocks) {
  for (const auto& [name, type] : kTypes) EXPECT_EQ(tensor_type_name(type), name);
  EXPECT_EQ(tensor_block_size(TensorType::q8_0).bytes, 34);
  EXPECT_EQ(tensor_block_size(TensorType::q6_k).values, 256);
  const float in[2] = {1.5f, -2.0f};
  float out[2];
  dequantize(TensorType::f32, reinterpret_cast<const std::byte*>(in), out, 2);
  EXPECT_EQ(out[1], -2.0f);
}

}  // namespace
}  // namespace kvkeep
