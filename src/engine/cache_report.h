// Turns a cache into the figures users see. What a category holds:
//   exact      f16 rows            codes, scales   of quantized rows (scales with minima)
//   positions, scores              0 or 2 bytes per slot each; positions 4 beyond 65,536 tokens
//   transform  per-sequence state  shared          tables all sequences of a model share
//   slack      unused slots, free blocks, ends of runs        tables   block and run lists
#pragma once

#include "engine/compressed_attention.h"
#include "kvkeep/report.h"

namespace kvkeep {

// Mean tokens of each tier over the (layer, kv_head) pairs of layers [first, last).
std::vector<TierReport> tier_reports(const CompressedAttention& site, int first, int last);
CacheReport report_cache(const CompressedAttention& site, const Plan& plan, bool per_layer);

}  // namespace kvkeep
