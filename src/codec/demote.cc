#include "codec/demote.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "codec/kivi.h"
#include "codec/points.h"
#include "kernels/copy_row.h"
#include "kernels/isa.h"

namespace kvkeep {
namespace {

// Rows of one tile to slots of one tile.
void move_rows(const Level& level, Tier* tier, int to, int from, int count) {
  std::byte* to_block = tier->k_part(to / kBlockTokens);
  const std::byte* from_block = std::as_const(*tier).k_part(from / kBlockTokens);
  const auto v = static_cast<ptrdiff_t>(tier->shape().k_bytes);
  const int to_lane = to % kBlockTokens, from_lane = from % kBlockTokens;
  copy_rows(level.k, Side::key, to_block, to_lane, from_block, from_lane, count);
  copy_rows(level.v, Side::value, to_block + v, to_lane, from_block + v, from_lane, count);
  for (int i = 0; i < count; ++i) tier->move_tags(to + i, from + i);
}

}  // namespace

// A bit for every position between the least and the greatest; a row's place is the number of bits
// below its own.
PlacedSlots slots_by_position(const Tier& tier) {
  const auto n = static_cast<size_t>(tier.size());
  std::vector<int32_t> positions(static_cast<size_t>(tier.blocks()) * kBlockTokens);
  for (int b = 0; b < tier.blocks(); ++b)
    tier.positions(b, std::min(kBlockTokens, tier.size() - b * kBlockTokens),
                   positions.data() + b * kBlockTokens);
  positions.resize(n);
  if (n == 0) return {};
  const auto [low, high] = std::minmax_element(positions.begin(), positions.end());
  const int32_t least = *low;
  std::vector<uint64_t> taken(static_cast<size_t>(*high - least) / 64 + 1);
  const auto bit = [&](int32_t position) { return static_cast<uint32_t>(position - least); };
  for (const int32_t p : positions) taken[bit(p) / 64] |= uint64_t{1} << bit(p) % 64;
  std::vector<uint32_t> below(taken.size());
  for (size_t i = 1; i < taken.size(); ++i)
    below[i] = below[i - 1] + static_cast<uint32_t>(std::popcount(taken[i - 1]));
  PlacedSlots placed{std::vector<int>(n), std::vector<int32_t>(n)};
  for (size_t slot = 0; slot < n; ++slot) {
    const uint32_t at = bit(positions[slot]);
    const uint64_t lower = taken[at / 64] & ((uint64_t{1} << at % 64) - 1);
    const size_t place = below[at / 64] + static_cast<size_t>(std::popcount(lower));
    placed.slots[place] = static_cast<int>(slot);
    placed.positions[place] = positions[slot];
  }
  return placed;
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
    if (v) read(read_v, level.v, tier.v_part(block), v);
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
  const auto in_one_tile = [](int slot, int count) {
    return slot % kTileTokens + count <= kTileTokens;
  };
  for (auto hole = slots.begin(); hole != slots.end() && *hole < left;) {
    for (; tail != slots.end() && *tail == from; ++tail) ++from;
    int count = 1;  // holes side by side that rows side by side fill
    while (hole + count != slots.end() && hole[count] == *hole + count && hole[count] < left &&
           in_one_tile(*hole, count + 1) && in_one_tile(from, count + 1) &&
           (tail == slots.end() || *tail != from + count))
      ++count;
    move_rows(level, tier, *hole, from, count);
    hole += count;
    from += count;
  }
  tier->truncate(left);
}

}  // namespace kvkeep
