#include "cache/sequence.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace kvkeep {

Sequence::Sequence(int layers, int kv_heads, std::vector<TierShape> levels, Pools pools)
    : layers_(layers), kv_heads_(kv_heads), shapes_(std::move(levels)), pools_(std::move(pools)) {
  KVKEEP_CHECK(layers > 0 && kv_heads > 0 && !shapes_.empty());
  tiers_.reserve(static_cast<size_t>(layers * kv_heads) * shapes_.size());
}

Sequence::Sequence(int layers, int kv_heads, const std::vector<TierShape>& levels)
    : Sequence(layers, kv_heads, levels, Pools()) {
  for (int i = 0; i < layers * kv_heads; ++i)
    for (const TierShape& shape : shapes_) {
      const size_t bytes = shape.block_bytes();
      const int count = blocks_per_extent(bytes);
      tiers_.emplace_back(pool_of(bytes),
                          count > 1 ? pool_of(static_cast<size_t>(count) * bytes) : nullptr, shape);
    }
}

BlockPool* Sequence::pool_of(size_t block_bytes) {
  auto& pool = pools_[block_bytes];
  if (!pool) pool = std::make_shared<BlockPool>(block_bytes);
  return pool.get();
}

Sequence Sequence::fork() const {
  Sequence copy(layers_, kv_heads_, shapes_, pools_);
  for (const Tier& tier : tiers_) copy.tiers_.push_back(tier.fork());
  return copy;
}

Tier& Sequence::tier(int layer, int kv_head, int level) {
  return tiers_[static_cast<size_t>((layer * kv_heads_ + kv_head) * levels() + level)];
}

const Tier& Sequence::tier(int layer, int kv_head, int level) const {
  return tiers_[static_cast<size_t>((layer * kv_heads_ + kv_head) * levels() + level)];
}

void Sequence::settle() {
  for (Tier& tier : tiers_) tier.settle();
}

void Sequence::compact() {
  settle();
  if (std::any_of(pools_.begin(), pools_.end(),
                  [](const auto& pool) { return pool.second->has_holes(); }))
    for (bool moved = true; moved;) {
      moved = false;
      for (Tier& tier : tiers_) moved |= tier.compact();
    }
  for (const auto& [size, pool] : pools_) pool->trim();
}

// How many blocks, or extents, of this size the tiers hold.
size_t Sequence::blocks_of(size_t block_bytes) const {
  size_t count = 0;
  for (const Tier& tier : tiers_) {
    const size_t bytes = tier.shape().block_bytes();
    if (bytes == block_bytes) count += static_cast<size_t>(tier.single_blocks());
    if (bytes * static_cast<size_t>(tier.per_extent()) == block_bytes)
      count += static_cast<size_t>(tier.extents());
  }
  return count;
}

size_t Sequence::resident_bytes() const {
  size_t bytes = sizeof(*this) + tiers_.capacity() * sizeof(Tier);
  for (const Tier& tier : tiers_) bytes += tier.table_bytes();
  for (const auto& [size, pool] : pools_) {
    const auto use = pool->use();
    const size_t foreign = use.blocks - blocks_of(size);
    bytes += use.resident - foreign * size + pool->table_bytes() + sizeof(*pool);
  }
  return bytes;
}

CacheUsage Sequence::usage() const {
  CacheUsage usage;
  usage.tables = sizeof(*this) + tiers_.capacity() * sizeof(Tier);
  for (const auto& [size, pool] : pools_) {
    usage.slack += pool->free_bytes();
    usage.tables += pool->table_bytes() + sizeof(*pool);
  }
  for (const Tier& tier : tiers_) {
    const TierShape& shape = tier.shape();
    const auto slots = static_cast<size_t>(tier.size());
    usage.parts += slots * (shape.k_bytes + shape.v_bytes) / kTierBlockSlots;
    usage.positions += slots * shape.position_bytes();
    usage.scores += slots * shape.score_bytes();
    usage.tables += tier.table_bytes();
    const size_t slot_bytes = shape.block_bytes() / kTierBlockSlots;
    usage.slack +=
        (static_cast<size_t>(tier.allocated_blocks()) * kTierBlockSlots - slots) * slot_bytes;
    usage.forked += static_cast<size_t>(tier.shared_blocks()) * shape.block_bytes();
  }
  return usage;
}

}  // namespace kvkeep
