// The table of one instruction set, compiled once per ISA (vec.h) with all kernels in its
// namespace.
#pragma once

#include "kernels/attend.h"
#include "kernels/gemv.h"
#include "kernels/kernel_table.h"
#include "kernels/pack.h"
#include "kernels/read_rows.h"
#include "kernels/vector_ops.h"

namespace kvkeep::KVKEEP_TARGET {

constexpr KernelTable make_table(const char* name) {
  KernelTable table{};
  table.name = name;
  int at = 0;
#define KVKEEP_LAYOUT(id, kind, bits)                                    \
  fill_packing<bits, LayoutKind::kind>(&table, at);                      \
  table.score_block[at] = score_block<bits, LayoutKind::kind>;           \
  table.accumulate_block[at] = accumulate_block<bits, LayoutKind::kind>; \
  table.read_keys[at] = read_keys<bits, LayoutKind::kind>;               \
  table.read_values[at++] = read_values<bits, LayoutKind::kind>;
#include "kernels/layouts.inc"
#undef KVKEEP_LAYOUT
  table.exp_sum = exp_sum;
  table.max = max_of;
  table.dot = dot;
  table.scale = scale;
  table.hadamard = hadamard;
  table.f16_to_f32 = f16_to_f32_n;
  table.f32_to_f16 = f32_to_f16_n;
  table.gemv_f16 = gemv_words<F16Weights>;
  table.gemv_bf16 = gemv_words<Bf16Weights>;
  table.gemv_q8_0 = gemv_q8_0;
  return table;
}

}  // namespace kvkeep::KVKEEP_TARGET
