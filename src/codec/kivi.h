// KIVI (Liu et al. 2024, arXiv 2402.02750): keys rounded to nearest per channel, over 32 tokens
// that go down together, because outliers of keys stay in their channels.
//
//   minimum and scale of a channel as rtn has them of a group of channels: codes are chosen with
//   their f16-rounded values, so |error| <= scale / 2 + the f16 rounding of the two.
//
// Tokens that share a scale are written once, all 32, and read-only from then on: a tier of such
// rows is filled and emptied in whole groups, in order (Level::step()).
#pragma once

#include "kernels/layout.h"

namespace kvkeep {

// rows [32][head_dim], finite, become the two tiles from `tile` on of a key part.
void kivi_write(const PartShape& shape, const float* rows, std::byte* part, int tile);

}  // namespace kvkeep
