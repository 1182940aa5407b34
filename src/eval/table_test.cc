#include "eval/table.h"

#include <gtest/gtest.h>

namespace kvkeep {
namespace {

TEST(Table, AlignsTextLeftAndNumbersRight) {
  Table table({"<plan", "bytes"});
  table.add({"f16", "1,000"});
  table.add({"é", "1"});
  EXPECT_EQ(table.text(), "plan  bytes\nf16   1,000\né         1\n");
}

TEST(Table, MissingCellsAreEmptyAndLinesHaveNoTrailingBlanks) {
  Table table({"<a", "<b"});
  table.add({"x"});
  EXPECT_EQ(table.text(), "a  b\nx\n");
}

TEST(Table, NumbersForPeople) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(-123), "-123");
  EXPECT_EQ(grouped(-123456), "-123,456");
  EXPECT_EQ(grouped(1234567), "1,234,567");
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(4.2e6), "4.20 MB");
}

}  // namespace
}  // namespace kvkeep
