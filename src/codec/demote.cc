#include "codec/demote.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "codec/kivi.h"
#include "codec/points.h"
#include "kernels/copy_row.h"
#include "kernels/isa.h"

namespace kvkeep {
namespace {

void move_row(const Level& level, Tier* tier, int to, int from) {
  const int to_block = to / kBlockTokens, to_lane = to % kBlockTokens;
  const int from_block = from / kBlockTokens, from_lane = from % kBlockTokens;
  copy_row(level.k, Side::key, tier->k_part(to_block), to_lane, tier->k_part(from_block),
           from_lane);
  copy_row(level.v, Side::value, tier->v_part(to_block), to_lane, tier->v_part(from_block),
           from_lane);
  tier->move_tags(to, from);
}

}  // namespace

std::vector<int> slots_by_position(const Tier& tier) {
  int32_t last = -1;
  for (int slot = 0; slot < tier.size(); ++slot) last = std::max(last, tier.position(slot));
  std::vector<int> slots(static_cast<size_t>(last) + 1, -1);
  for (int slot = 0; slot < tier.size(); ++slot)
    slots[static_cast<size_t>(tier.position(slot))] = slot;
  std::erase(slots, -1);
  return slots;
}

uint64_t demotion_order(int pin, float score, size_t index) {
  const auto bits = std::bit_cast<uint32_t>(pin == 0 ? score + 0.0f : 0.0f);  // -0 is 0
  const uint32_t ascending = bits >> 31 ? ~bits : bits | 0x80000000u;
  return static_cast<uint64_t>(pin) << 62 | uint64_t{ascending} << 30 | index;
}

std::vector<size_t> lowest(std::span<const uint64_t> orders, int count) {
  std::vector<uint64_t> sorted(orders.begin(), orders.end());
  const auto last = sorted.begin() + (count - 1);
  std::nth_element(sorted.begin(), last, sorted.end());
  std::vector<size_t> places;
  places.reserve(static_cast<size_t>(count));
  for (size_t i = 0; i < orders.size(); ++i)
    if (orders[i] <= *last) places.push_back(i);
  return places;
}

void gather_rows(const Level& level, const Tier& tier, std::span<const int> slots, float* k,
                 float* v) {
  const auto& table = kernels();
  const auto d = static_cast<size_t>(level.k.head_dim);
  const auto read_k = table.read_keys[static_cast<size_t>(level.k.id)];
  const auto read_v = table.read_values[static_cast<size_t>(level.v.id)];
  float tile[kTileTokens * kMaxHeadDim];
  for (size_t i = 0; i < slots.size();) {
    const int first = slots[i], block = first / kBlockTokens, lane = first % kBlockTokens;
    size_t end = i + 1;  // slots of one tile, ascending
    while (end < slots.size() && slots[end] > slots[end - 1] &&
           slots[end] / kTileTokens == first / kTileTokens)
      ++end;
    const int count = slots[end - 1] - first + 1;
    const bool all = static_cast<size_t>(count) == end - i;  // no slot between is left out
    const auto read = [&](ReadRowsFn fn, const PartShape& shape, const std::byte* part, float* to) {
      fn(shape, part, lane, count, all ? to + i * d : tile, shape.head_dim);
      for (size_t j = i; !all && j < end; ++j)
        std::memcpy(to + j * d, tile + static_cast<size_t>(slots[j] - first) * d,
                    d * sizeof(float));
    };
    read(read_k, level.k, tier.k_part(block), k);
    read(read_v, level.v, tier.v_part(block), v);
    i = end;
  }
}

void append_coded(const Level& level, Tier* tier, std::span<const RowTag> tags, const float* k,
                  const float* v) {
  const auto& table = kernels();
  const auto k_id = static_cast<size_t>(level.k.id), v_id = static_cast<size_t>(level.v.id);
  const int d = level.k.head_dim;
  TileCodes codes;
  while (!tags.empty()) {
    const int slot = tier->size(), token = slot % kTileTokens;
    const auto rows = std::min(tags.size(), static_cast<size_t>(kTileTokens - token));
    for (const RowTag& tag : tags.first(rows)) tier->append(tag.position, tag.score);
    const int n = static_cast<int>(rows);
    const int block = slot / kBlockTokens, tile = slot % kBlockTokens / kTileTokens;
    if (by_channel(level.k.id)) {
      if (tile % kChannelTiles == 0) {
        KVKEEP_CHECK(token == 0 && tags.size() >= kChannelTokens, "{} rows", tags.size());
        kivi_write(level.k, k, tier->k_part(block), tile);
      }
    } else {
      table.quantize_tile[k_id](level.k, k, d, token, n, &codes);
      if (level.unbiased) apply_gain(level.k, unbiased_gain(level.k.id), token, n, &codes);
      table.pack_keys[k_id](level.k, codes, token, n, tier->k_part(block), tile);
    }
    table.quantize_tile[v_id](level.v, v, d, token, n, &codes);
    table.pack_values[v_id](level.v, codes, token, n, tier->v_part(block), tile);
    tags = tags.subspan(rows);
    k += rows * static_cast<size_t>(d);
    v += rows * static_cast<size_t>(d);
  }
}

void remove_rows(const Level& level, Tier* tier, std::vector<int> slots) {
  if (!std::is_sorted(slots.begin(), slots.end())) std::sort(slots.begin(), slots.end());
  const int left = tier->size() - static_cast<int>(slots.size());
  auto tail = std::lower_bound(slots.begin(), slots.end(), left);  // removed slots past the end
  int from = left;
  for (auto hole = slots.begin(); hole != slots.end() && *hole < left; ++hole, ++from) {
    for (; tail != slots.end() && *tail == from; ++tail) ++from;
    move_row(level, tier, *hole, from);
  }
  tier->truncate(left);
}

}  // namespace kvkeep
