// One sequence's cache: for every (layer, kv_head) a ladder of tiers, highest precision first, and
// the pools their blocks and extents come from. Tiers of equal block size share them across layers
// and heads, so that only the last run of each size is partly empty.
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
  size_t forked = 0;                 // of all these, in blocks that a fork uses as well
};

class Sequence {
 public:
  Sequence(int layers, int kv_heads, const std::vector<TierShape>& levels);
  // The same rows for one more sequence: blocks are shared until one of the two writes to them. The
  // two may then be used from different threads.
  Sequence fork() const;

  int levels() const { return static_cast<int>(shapes_.size()); }
  Tier& tier(int layer, int kv_head, int level);
  const Tier& tier(int layer, int kv_head, int level) const;

  // Makes extents of full groups of blocks, and blocks of broken extents (Tier::settle).
  void settle();
  // Settles, moves blocks together and gives empty runs back.
  void compact();

  // Touched pages of runs and heap tables, as allocated; of pools shared with forks the blocks this
  // sequence uses, and all that is free.
  size_t resident_bytes() const;
  CacheUsage usage() const;

 private:
  // By block bytes, an extent being a large block; outlives the tiers, shared with forks.
  using Pools = std::map<size_t, std::shared_ptr<BlockPool>>;
  Sequence(int layers, int kv_heads, std::vector<TierShape> levels, Pools pools);
  BlockPool* pool_of(size_t block_bytes);
  size_t blocks_of(size_t block_bytes) const;

  int layers_, kv_heads_;
  std::vector<TierShape> shapes_;
  Pools pools_;
  std::vector<Tier> tiers_;  // [layers][kv_heads][levels]
};

}  // namespace kvkeep
