#include "kernels/copy_row.h"

#include <gtest/gtest.h>

#include <cstring>

#include "kernels/test_parts.h"

namespace kvkeep {
namespace {

TEST(CopyRows, EqualReadingAndWritingRowsForEveryLayout) {
  for_each_part([](const PartShape& shape, Side side) {
    const TestPart from = random_part(shape, side, 1), before = random_part(shape, side, 2);
    AlignedBuffer<std::byte> expected(shape.bytes()), found(shape.bytes());
    struct Move {
      int to_slot, from_slot, count;
    };
    for (const auto& [to_slot, from_slot, count] :
         {Move{0, 63, 1}, {17, 17, 1}, {31, 2, 1}, {62, 45, 1}, {3, 52, 7}, {16, 48, 16}}) {
      std::memcpy(expected.data(), before.bytes.data(), shape.bytes());
      std::memcpy(found.data(), before.bytes.data(), shape.bytes());
      for (int i = 0; i < count; ++i) {
        if (shape.groups == 0) {
          F16 words[kMaxHeadDim];
          get_row_f16(shape, side, from.bytes.data(), from_slot + i, words);
          put_row_f16(shape, side, expected.data(), to_slot + i, words);
        } else {
          RowCodes row;
          get_row(shape, side, from.bytes.data(), from_slot + i, &row);
          put_row(shape, side, expected.data(), to_slot + i, row);
        }
      }
      copy_rows(shape, side, found.data(), to_slot, from.bytes.data(), from_slot, count);
      EXPECT_EQ(std::memcmp(found.data(), expected.data(), shape.bytes()), 0)
          << to_slot << " from " << from_slot;
    }
  });
}

}  // namespace
}  // namespace kvkeep
