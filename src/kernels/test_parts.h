// Random parts for the tests of this folder, and their values as get_row defines them.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/half.h"
#include "base/rng.h"
#include "kernels/isa.h"
#include "kernels/layout.h"

namespace kvkeep {

inline RowCodes random_codes(Rng& rng, const PartShape& shape) {
  RowCodes row{};
  const uint64_t levels = uint64_t{1} << layout_bits(shape.id);
  const int span = layout_kind(shape.id) == LayoutKind::codebook ? codebook_points(shape.id).top + 1
                                                                 : static_cast<int>(levels);
  for (int d = 0; d < shape.head_dim; ++d) row.codes[d] = static_cast<uint8_t>(rng.below(levels));
  for (int group = 0; group < shape.groups; ++group) {
    row.scales[group] = f32_to_f16((0.5f + rng.uniform()) / static_cast<float>(span));
    row.minima[group] = f32_to_f16(-rng.uniform());
  }
  return row;
}

inline std::vector<F16> random_halves(Rng& rng, int n) {
  std::vector<F16> words(static_cast<size_t>(n));
  for (F16& word : words) word = f32_to_f16(rng.normal());
  return words;
}

inline std::vector<float> random_floats(Rng& rng, size_t n) {
  std::vector<float> x(n);
  for (float& value : x) value = rng.normal();
  return x;
}

struct TestPart {
  PartShape shape;
  AlignedBuffer<std::byte> bytes;
  std::vector<double> values;  // [64][head_dim], from get_row

  double at(int slot, int d) const {
    return values[static_cast<size_t>(slot * shape.head_dim + d)];
  }
};

inline void append_values(const PartShape& shape, Side side, const std::byte* bytes, int slot,
                          std::vector<double>* values) {
  if (shape.id == LayoutId::f16) {
    F16 words[kMaxHeadDim];
    get_row_f16(shape, side, bytes, slot, words);
    for (int d = 0; d < shape.head_dim; ++d) values->push_back(f16_to_f32(words[d]));
    return;
  }
  RowCodes row;
  get_row(shape, side, bytes, slot, &row);
  if (by_channel(shape.id)) {
    const auto* scales = channel_side(shape, const_cast<std::byte*>(bytes), slot / kTileTokens);
    for (int d = 0; d < shape.head_dim; ++d)
      values->push_back(f16_to_f32(scales[d]) * row.codes[d] +
                        f16_to_f32(scales[shape.padded_dim + d]));
    return;
  }
  const bool uniform = layout_kind(shape.id) == LayoutKind::uniform;
  for (int d = 0; d < shape.head_dim; ++d) {
    const int group = d / shape.group;
    const double scale = f16_to_f32(row.scales[group]);
    values->push_back(scale * code_value(shape.id, row.codes[d]) +
                      (uniform ? f16_to_f32(row.minima[group]) : 0.0f));
  }
}

inline TestPart random_part(const PartShape& shape, Side side, uint64_t seed) {
  Rng rng(seed);
  TestPart part{shape, AlignedBuffer<std::byte>(shape.bytes()), {}};
  for (int tile = 0; by_channel(shape.id) && tile < kBlockTiles; tile += kChannelTiles)
    for (int d = 0; d < 2 * shape.padded_dim; ++d)
      channel_side(shape, part.bytes.data(), tile)[d] = f32_to_f16(rng.uniform() - 0.5f);
  for (int slot = 0; slot < kBlockTokens; ++slot) {
    if (shape.id == LayoutId::f16)
      put_row_f16(shape, side, part.bytes.data(), slot, random_halves(rng, shape.head_dim).data());
    else
      put_row(shape, side, part.bytes.data(), slot, random_codes(rng, shape));
    append_values(shape, side, part.bytes.data(), slot, &part.values);
  }
  return part;
}

// Calls check(shape, side) for every layout, group and ragged head_dim.
template <class Check>
void for_each_part(const Check& check) {
  for (int id = 0; id < kLayouts; ++id)
    for (const int group : {32, 64, 128, kGroupHalf, kGroupToken})
      for (const int head_dim : {8, 24, 40, 64, 80, 128, 256}) {
        const bool exact = layout_kind(static_cast<LayoutId>(id)) == LayoutKind::exact;
        if (exact && group != kGroupHalf) continue;
        const Layout layout{static_cast<LayoutId>(id), exact ? 0 : group};
        if (by_channel(layout.id) && group != kGroupHalf) continue;
        for (const Side side : {Side::key, Side::value}) {
          if (by_channel(layout.id) && side == Side::value) continue;
          SCOPED_TRACE(fmt::format("{} head_dim {} {}", layout_name(layout), head_dim,
                                   side == Side::key ? "K" : "V"));
          check(part_shape(layout, head_dim), side);
        }
      }
}

}  // namespace kvkeep
