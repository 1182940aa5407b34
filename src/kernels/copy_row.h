// Copies the row of one slot to another, bit for bit: what fills the hole that a demoted row
// leaves.
#pragma once

#include "kernels/layout.h"

namespace kvkeep {

// Slots are 0..63; `to` and `from` are parts of this shape, the same one or two. Rows of 16 and 8
// bits, those of the tiers that rows leave, are copied as words; narrower ones code by code.
void copy_row(const PartShape& shape, Side side, std::byte* to, int to_slot, const std::byte* from,
              int from_slot);

}  // namespace kvkeep
