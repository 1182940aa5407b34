// Round to nearest, per token and group of channels: the quantizer of RTN, MiKV and llama.cpp's
// q8_0, q5_0 and q4_0.
//
//   uniform (MiKV, Yang et al. 2024, eq. 1): scale = (max - min) / (2^bits - 1), minimum = min,
//     code = round((x - minimum) / scale); |error| <= scale / 2 + the f16 rounding of the two.
//   symmetric, 8 bits: scale = max|x| / 127, code = round(x / scale) + 128.
//   symmetric, 5, 4 or 3 bits: scale = (the value of largest magnitude) / -2^(bits-1), so that it
//   is
//     met exactly; of two such values of opposite sign, the negative one.
//
// Codes are chosen with the f16-rounded scale and minimum, the ones the reader will see. These
// functions are the specification, one row at a time; what runs is quantize_tile (kernels/pack.h),
// which gives the same bits.
#pragma once

#include "kernels/layout.h"

namespace kvkeep {

// row [head_dim], finite and within f16 range.
void rtn_quantize(const PartShape& shape, const float* row, RowCodes* codes);
void rtn_dequantize(const PartShape& shape, const RowCodes& codes, float* row);

}  // namespace kvkeep
