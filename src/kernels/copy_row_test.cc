#include "kernels/copy_row.h"

#include <gtest/gtest.h>

#include <cstring>

#include "kernels/test_parts.h"

namespace kvkeep {
namespace {

TEST(CopyRow, EqualsReadingAndWritingTheRowForEveryLayout) {
  for_each_part([](const PartShape& shape, Side side) {
    const TestPart from = random_part(shape, side, 1), before = random_part(shape, side, 2);
    AlignedBuffer<std::byte> expected(shape.bytes()), found(shape.bytes());
    for (const auto& [to_slot, from_slot] : {std::pair{0, 63}, {17, 17}, {31, 2}, {62, 45}}) {
      std::memcpy(expected.data(), before.bytes.data(), shape.bytes());
      std::memcpy(found.data(), before.bytes.data(), shape.bytes());
      if (shape.groups == 0) {
        F16 words[kMaxHeadDim];
        get_row_f16(shape, side, from.bytes.data(), from_slot, words);
        put_row_f16(shape, side, expected.data(), to_slot, words);
      } else {
        RowCodes row;
        get_row(shape, side, from.bytes.data(), from_slot, &row);
        put_row(shape, side, expected.data(), to_slot, row);
      }
      copy_row(shape, side, found.data(), to_slot, from.bytes.data(), from_slot);
      EXPECT_EQ(std::memcmp(found.data(), expected.data(), shape.bytes()), 0)
          << to_slot << " from " << from_slot;
    }
  });
}

}  // namespace
}  // namespace kvkeep
