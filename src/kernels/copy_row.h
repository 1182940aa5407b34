// Copies rows to other slots, bit for bit: what fills the holes that demoted rows leave.
#pragma once

#include "kernels/layout.h"

namespace kvkeep {

// Slots are 0..63; `to` and `from` are parts of this shape, the same one or two, and the count rows
// stand in one tile of each, not in each other's place. Rows of 16 and 8 bits, those of the tiers
// that rows leave, are copied as words; narrower ones code by code.
void copy_rows(const PartShape& shape, Side side, std::byte* to, int to_slot, const std::byte* from,
               int from_slot, int count);

}  // namespace kvkeep
