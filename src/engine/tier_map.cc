#include "engine/tier_map.h"

#include <algorithm>

#include "engine/cache_report.h"

namespace kvkeep {
namespace {

// Writes `level` at the positions a tier holds into row [tokens]. A session that an error broke may
// hold positions past its last whole slice; they are left out. A tier that stores no positions
// holds all that stand nowhere else, and is the last.
void mark(const Tier& tier, int8_t level, std::span<int8_t> row) {
  if (!tier.knows_positions()) {
    std::replace(row.begin(), row.end(), TierMap::kEvicted, level);
    return;
  }
  for (int slot = 0; slot < tier.size(); ++slot) {
    const auto position = static_cast<size_t>(tier.position(slot));
    if (position < row.size()) row[position] = level;
  }
}

}  // namespace

TierMap map_tiers(const CompressedAttention& site) {
  const AttentionShape& shape = site.shape();
  TierMap map;
  map.layers = shape.layers;
  map.kv_heads = shape.kv_heads;
  map.tokens = site.tokens();
  map.levels = tier_reports(site, 0, shape.layers);
  map.low_level = static_cast<int>(map.levels.size()) - (site.pipeline().evicts() ? 0 : 1);
  const auto tokens = static_cast<size_t>(map.tokens);
  map.level.assign(static_cast<size_t>(shape.layers * shape.kv_heads) * tokens, TierMap::kEvicted);
  for (int layer = 0; layer < shape.layers; ++layer)
    for (int head = 0; head < shape.kv_heads; ++head)
      for (int level = 0; level < site.cache().levels(); ++level)
        mark(site.cache().tier(layer, head, level), static_cast<int8_t>(level),
             std::span(map.level).subspan(
                 static_cast<size_t>(layer * shape.kv_heads + head) * tokens, tokens));
  if (const ChunkTier* chunks = site.chunks())
    for (size_t head = 0; head < static_cast<size_t>(shape.layers * shape.kv_heads); ++head)
      for (const auto& chunk : chunks->chunks())
        for (int row = 0; row < chunk->rows; ++row)
          map.level[head * tokens + static_cast<size_t>(chunk->position(row))] =
              static_cast<int8_t>(site.cache().levels());
  return map;
}

}  // namespace kvkeep
