// Reads from a cache which position stands on which level: what a report sums up, token by token.
#pragma once

#include "engine/compressed_attention.h"
#include "kvkeep/report.h"

namespace kvkeep {

// Positions below site.tokens(); those that no tier holds are evicted. Changes nothing.
TierMap map_tiers(const CompressedAttention& site);

}  // namespace kvkeep
