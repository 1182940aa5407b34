// The kernels of one instruction set as plain function pointers; isa.h picks the table.
//
// Scalar kernels are the specification: every other table is compared with them on ragged sizes.
// Kernels take raw pointers with their shapes, neither fail nor allocate nor lock, and may be
// called from any thread. Sums are float32; the order of summation is fixed for given sizes and
// ISA.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/layout.h"

namespace kvkeep {

inline constexpr int kLayouts = 0
#define KVKEEP_LAYOUT(id, kind, bits) +1
#include "kernels/layouts.inc"
#undef KVKEEP_LAYOUT
    ;

inline constexpr int kMaxKernelHeads = 16;  // query heads of one call

// Block kernels read one part and prefetch `next`, the part of the same shape that is read after it
// (nullptr: none).

// logits[h*64 + t] = sum_d q[h*q_stride + d] * k[t][d] for t < count, h < heads; logits of t >=
// count are left as they are. part: K part of one block. q has P floats a row, zero beyond
// head_dim.
using ScoreBlockFn = void (*)(const PartShape& shape, const std::byte* part, const std::byte* next,
                              int count, const float* q, int q_stride, int heads, float* logits);

// out[h*out_stride + d] += sum_{t<count} weights[h*64 + t] * v[t][d] for d < head_dim.
using AccumulateBlockFn = void (*)(const PartShape& shape, const std::byte* part,
                                   const std::byte* next, int count, const float* weights,
                                   int heads, float* out, int out_stride);

// One query head as integers, for the K parts of one shape (attend_codes.h): a step and the two
// constant terms per group.
struct QueryCodes {
  union {
    int8_t narrow[kMaxHeadDim];  // codes up to 5 bits
    int16_t wide[kMaxHeadDim];   // 8-bit codes
  };
  float scales[kMaxGroups], constants[kMaxGroups], sums[kMaxGroups];
};

// codes[heads] of q[heads][q_stride], rows as score_block takes them.
using QuantizeQueryFn = void (*)(const PartShape& shape, const float* q, int q_stride, int heads,
                                 QueryCodes* codes);

// score_block and accumulate_block in integers: the query, and the weights of a block, are rounded
// to 8 and 7 bits (14 for 8-bit layouts).
using ScoreCodesFn = void (*)(const PartShape& shape, const std::byte* part, const std::byte* next,
                              int count, const QueryCodes* q, int heads, float* logits);

// rows [count][row_stride] f32 of slots first .. first+count-1 of a part, dequantized.
using ReadRowsFn = void (*)(const PartShape& shape, const std::byte* part, int first, int count,
                            float* rows, int row_stride);

// Codes, scales and minima of rows[count][row_stride] as the tokens first .. first+count-1 of a
// tile: for each row what rtn_quantize, or points_quantize, gives. 0 < count, first + count <= 16.
using QuantizeTileFn = void (*)(const PartShape& shape, const float* rows, int row_stride,
                                int first, int count, TileCodes* codes);

// Writes the tokens first .. first+count-1 of a tile into a part, as put_row does for each.
using PackTileFn = void (*)(const PartShape& shape, const TileCodes& codes, int first, int count,
                            std::byte* part, int tile);

// y[i] = sum_j w[i*n + j] * x[j] for m rows; w in the named format.
using GemvFn = void (*)(const void* w, const float* x, float* y, int64_t m, int64_t n);

// What the rows of a block's slots were given: weights [heads][64], each row times a factor.
struct MassRows {
  const float *weights, *factors;
  int heads;
};

// Layouts by channel are for keys: what reads or writes values of one is null, and so is what
// attends in integers and quantize_tile.
struct KernelTable {
  const char* name;
  ScoreBlockFn score_block[kLayouts];            // by LayoutId
  AccumulateBlockFn accumulate_block[kLayouts];  // by LayoutId
  QuantizeQueryFn quantize_query[kLayouts];      // these three are null for f16, which is exact
  ScoreCodesFn score_codes[kLayouts];
  AccumulateBlockFn accumulate_codes[kLayouts];
  ReadRowsFn read_keys[kLayouts], read_values[kLayouts];
  QuantizeTileFn quantize_tile[kLayouts];                 // all but f16
  PackTileFn pack_keys[kLayouts], pack_values[kLayouts];  // all but f16

  // One step of a softmax over blocks, for up to kMaxKernelHeads heads: maxima[h] and sums[h] grow
  // to take in x[h * stride .. + n), and x becomes exp(x - maxima[h]). factors[h] is by how much
  // what was summed before shrinks.
  void (*softmax_step)(float* x, int stride, int n, int heads, float* maxima, float* sums,
                       float* factors);
  // scores[t] = fade * scores[t] + sum_h factors[h] * weights[h][t] for t < n, 0 < n <= 64, rounded
  // at random to f16 (half.h) with the noise `noise + t * kNoiseStep`; the same bits on every
  // instruction set. Prefetches the scores at `ahead`.
  void (*add_masses)(const MassRows& given, int n, float fade, uint32_t noise, uint16_t* scores,
                     const void* ahead);
  // x[i] = exp(x[i] - max), returns the sum; n may be 0.
  float (*exp_sum)(float* x, int n, float max);
  float (*max)(const float* x, int n);  // -infinity for n == 0
  float (*dot)(const float* a, const float* b, int n);
  void (*scale)(float* x, int n, float factor);
  void (*add_scaled)(const float* x, int n, float factor, float* y);  // y += factor * x
  // out[rows][out_stride] += x[rows][x_stride] * w[k][n]; the same bits on every instruction set
  // and for every number of rows (products.h).
  void (*add_products)(const float* x, int x_stride, int rows, const float* w, int k, int n,
                       float* out, int out_stride);
  // In-place orthonormal Walsh-Hadamard transform of rows[count][stride]: blocks of `size` (a power
  // of two dividing dim), unsigned, scaled by size^-1/2; its own inverse.
  void (*hadamard)(float* rows, int count, int stride, int dim, int size);

  void (*f16_to_f32)(const uint16_t* in, float* out, int64_t n);
  void (*f32_to_f16)(const float* in, uint16_t* out, int64_t n);  // nearest even

  // The sum of the 8-byte words of `bytes` bytes (a multiple of 64): the fastest way to read memory
  // once, which the speed of attention is compared with.
  uint64_t (*read_sum)(const std::byte* data, size_t bytes);

  GemvFn gemv_f16, gemv_bf16;
  GemvFn gemv_q8_0;  // blocks of 34 bytes: f16 scale, 32 int8; n a multiple of 32
};

}  // namespace kvkeep
