#include "cache/sequence.h"

#include "base/check.h"

namespace kvkeep {

Sequence::Sequence(int layers, int kv_heads, const std::vector<TierShape>& levels)
    : layers_(layers), kv_heads_(kv_heads), shapes_(levels) {
  KVKEEP_CHECK(layers > 0 && kv_heads > 0 && !levels.empty());
  for (const TierShape& shape : levels)
    pools_.try_emplace(shape.block_bytes(), shape.block_bytes());
  tiers_.reserve(static_cast<size_t>(layers * kv_heads) * levels.size());
  for (int i = 0; i < layers * kv_heads; ++i)
    for (const TierShape& shape : levels)
      tiers_.emplace_back(&pools_.at(shape.block_bytes()), shape);
}

Tier& Sequence::tier(int layer, int kv_head, int level) {
  return tiers_[static_cast<size_t>((layer * kv_heads_ + kv_head) * levels() + level)];
}

const Tier& Sequence::tier(int layer, int kv_head, int level) const {
  return tiers_[static_cast<size_t>((layer * kv_heads_ + kv_head) * levels() + level)];
}

void Sequence::compact() {
  for (bool moved = true; moved;) {
    moved = false;
    for (Tier& tier : tiers_) moved |= tier.compact();
  }
}

size_t Sequence::resident_bytes() const {
  size_t bytes = sizeof(*this) + tiers_.capacity() * sizeof(Tier);
  for (const Tier& tier : tiers_) bytes += tier.table_bytes();
  for (const auto& [size, pool] : pools_)
    bytes += pool.resident_bytes() + pool.table_bytes() + sizeof(pool);
  return bytes;
}

CacheUsage Sequence::usage() const {
  CacheUsage usage;
  usage.tables = sizeof(*this) + tiers_.capacity() * sizeof(Tier);
  for (const auto& [size, pool] : pools_) {
    usage.slack += pool.free_bytes();
    usage.tables += pool.table_bytes() + sizeof(pool);
  }
  for (const Tier& tier : tiers_) {
    const auto slots = static_cast<size_t>(tier.size());
    usage.parts += slots * (tier.shape().k_bytes + tier.shape().v_bytes) / kTierBlockSlots;
    usage.positions += slots * sizeof(int32_t);
    if (tier.shape().scored) usage.scores += slots * sizeof(float);
    usage.tables += tier.table_bytes();
    const size_t slot_bytes = tier.shape().block_bytes() / kTierBlockSlots;
    usage.slack += (static_cast<size_t>(tier.blocks()) * kTierBlockSlots - slots) * slot_bytes;
  }
  return usage;
}

}  // namespace kvkeep
