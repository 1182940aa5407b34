// One sequence's cache: for every (layer, kv_head) a ladder of tiers, highest precision first, and
// the pools their blocks come from. Tiers of equal block size share a pool across layers and heads,
// so that only the last run of each size is partly empty.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "cache/tier.h"

namespace kvkeep {

// Where the bytes are, by what the shapes say; the sum equals Sequence::resident_bytes().
struct CacheUsage {
  size_t parts = 0;                  // K and V parts of slots in use
  size_t positions = 0, scores = 0;  // of slots in use
  size_t slack = 0;                  // unused slots of blocks, unused blocks and ends of runs
  size_t tables = 0;                 // block lists, run lists and the objects themselves
};

class Sequence {
 public:
  Sequence(int layers, int kv_heads, const std::vector<TierShape>& levels);

  int levels() const { return static_cast<int>(shapes_.size()); }
  Tier& tier(int layer, int kv_head, int level);
  const Tier& tier(int layer, int kv_head, int level) const;

  // Moves blocks together and gives empty runs back.
  void compact();

  size_t resident_bytes() const;  // mapped runs and heap tables, as allocated
  CacheUsage usage() const;

 private:
  int layers_, kv_heads_;
  std::vector<TierShape> shapes_;
  std::map<size_t, BlockPool> pools_;  // by block bytes; outlives the tiers
  std::vector<Tier> tiers_;            // [layers][kv_heads][levels]
};

}  // namespace kvkeep
