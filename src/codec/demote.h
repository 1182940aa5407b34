// The steps of a demotion on the tiers of one (layer, kv_head): which rows leave, how a batch of
// them is read, coded into the tail of a lower tier, and taken out of its own.
//
// Pipeline puts them together and adds the transforms between reading and coding. All of it is
// linear in the rows of a tier: a batch of 16 never sorts a tier.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/tier.h"
#include "codec/level.h"

namespace kvkeep {

inline constexpr int kDemoteBatch = kChannelTokens;  // rows that go down together

// What goes with a row from tier to tier.
struct RowTag {
  int32_t position = 0;
  float score = 0.0f;
};

// All slots of a tier, ascending by position, and where they stand.
struct PlacedSlots {
  std::vector<int> slots;
  std::vector<int32_t> positions;
};
PlacedSlots slots_by_position(const Tier& tier);

// Orders rows that compete: pinned rows (higher pin) go last, then the lowest score goes first
// (only where pin is 0), then the lowest index. Score is not NaN; 0 <= pin <= 3, index < 2^30.
uint64_t demotion_order(int pin, float score, size_t index);

// Which `count` of the orders are lowest: their places in `orders`, ascending. 0 < count <= size.
std::vector<size_t> lowest(std::span<const uint64_t> orders, int count);

// Rows at `slots` as the tier holds them, dequantized but in the tier's own basis:
// k, v [slots][head_dim]; values are left out if v is null.
void gather_rows(const Level& level, const Tier& tier, std::span<const int> slots, float* k,
                 float* v);

// Quantizes rows k, v [tags][head_dim], in the tier's basis, into new last slots of a coded tier: a
// multiple of its step().
void append_coded(const Level& level, Tier* tier, std::span<const RowTag> tags, const float* k,
                  const float* v);

// Takes the slots (distinct, any order) out: the last rows that stay fill the holes, bit for bit.
void remove_rows(const Level& level, Tier* tier, std::vector<int> slots);

}  // namespace kvkeep
