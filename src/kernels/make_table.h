// The table of one instruction set, compiled once per ISA (vec.h) with all kernels in its
// namespace.
#pragma once

#include "kernels/attend.h"
#include "kernels/attend_codes.h"
#include "kernels/by_channel.h"
#include "kernels/gemv.h"
#include "kernels/kernel_table.h"
#include "kernels/masses.h"
#include "kernels/pack.h"
#include "kernels/products.h"
#include "kernels/read_rows.h"
#include "kernels/vector_ops.h"

namespace kvkeep::KVKEEP_TARGET {

template <int kBits, LayoutKind kKind>
constexpr void fill_both_sides(KernelTable* table, int at) {
  table->score_block[at] = score_block<kBits, kKind>;
  table->accumulate_block[at] = accumulate_block<kBits, kKind>;
  if constexpr (kKind != LayoutKind::exact) {
    table->quantize_query[at] = quantize_query<kBits, kKind>;
    table->score_codes[at] = score_codes<kBits, kKind>;
    table->accumulate_codes[at] = accumulate_codes<kBits, kKind>;
  }
  fill_packing<kBits, kKind>(table, at);
  table->read_keys[at] = read_keys<kBits, kKind>;
  table->read_values[at] = read_values<kBits, kKind>;
}

template <int kBits, LayoutKind kKind>
constexpr void fill_layout(KernelTable* table, int at) {
  if constexpr (kKind == LayoutKind::by_channel) {
    table->score_block[at] = score_by_channel<kBits>;
    table->pack_keys[at] = pack_tile<Side::key, kBits, kKind>;
    table->read_keys[at] = read_by_channel<kBits>;
  } else {
    fill_both_sides<kBits, kKind>(table, at);
  }
}

constexpr KernelTable make_table(const char* name) {
  KernelTable table{};
  table.name = name;
  int at = 0;
#define KVKEEP_LAYOUT(id, kind, bits) fill_layout<bits, LayoutKind::kind>(&table, at++);
#include "kernels/layouts.inc"
#undef KVKEEP_LAYOUT
  table.softmax_step = softmax_step;
  table.add_masses = add_masses;
  table.exp_sum = exp_sum;
  table.max = max_of;
  table.dot = dot;
  table.scale = scale;
  table.add_scaled = add_scaled;
  table.add_products = add_products;
  table.hadamard = hadamard;
  table.f16_to_f32 = f16_to_f32_n;
  table.f32_to_f16 = f32_to_f16_n;
  table.read_sum = read_sum;
  table.gemv_f16 = gemv_words<F16Weights>;
  table.gemv_bf16 = gemv_words<Bf16Weights>;
  table.gemv_q8_0 = gemv_q8_0;
  return table;
}

}  // namespace kvkeep::KVKEEP_TARGET
