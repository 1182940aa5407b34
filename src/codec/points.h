// Codebooks for rotated rows: the quantizer of HIGGS with one value a point, and of TurboQuant.
//
// A rotated row is close to normal (transform `hadamard` with signs), so the codebook is fixed and
// only the norm is stored: scale = root mean square of the group / points per standard deviation,
// code = nearest point to x / scale. Codes are chosen with the f16-rounded scale, the one the
// reader will see. These functions are the specification, one row at a time; what runs is
// quantize_tile (kernels/pack.h), which gives the same bits.
//
// A gain of 1 / (1 - mse) on the scale makes dot products with the restored row unbiased, at the
// price of a larger error (EDEN, Vargaftik et al. 2021, arXiv 2108.08842).
#pragma once

#include "kernels/layout.h"

namespace kvkeep {

// row [head_dim], finite; rtn_dequantize restores it.
void points_quantize(const PartShape& shape, const float* row, RowCodes* codes);

// 1 / (1 - mse) of a codebook.
float unbiased_gain(LayoutId id);

// Scales of the tokens first .. first+count-1 of a tile, multiplied.
void apply_gain(const PartShape& shape, float gain, int first, int count, TileCodes* codes);

}  // namespace kvkeep
