// kvkeep bench memory: what this machine reads a second, and what blocks in random order cost.
//
// Blocks come from the real pools, filled as a cache grows: one block of every (layer, kv_head) in
// turn. They are read in the order of their addresses, head by head as attention does, with the
// extents of all heads shuffled, the worst order in which the engine can come to read them, and
// block by block at random, as a pool without extents would have it.
#pragma once

#include <string>
#include <vector>

#include "eval/bench/bars.h"
#include "eval/bench/measure.h"
#include "eval/bench/synthetic.h"

namespace kvkeep::bench {

struct MemoryOptions {
  std::vector<int> threads = {1};
  size_t most_bytes = size_t{1} << 30;  // largest working set
  size_t pool_bytes = 0;                // blocks of each layout
  int rounds = 7;
};

struct ReadRow {
  size_t bytes = 0;  // of all threads together
  int threads = 0;
  Spread gb_per_s;
};

struct BlockRow {
  LayoutPair layouts;
  size_t block_bytes = 0;
  int threads = 0;
  double huge_page_share = 0;  // of the pool's memory
  Spread sequential_gb_per_s;  // in the order of addresses
  // Shares of the sequential rate, same rounds.
  Spread by_head, extents, random;
};

struct MemoryResult {
  std::vector<ReadRow> reads;
  std::vector<BlockRow> blocks;
  bool interrupted = false;
};

Result<MemoryResult> bench_memory(const MemoryOptions& options, const ProgressFn& progress);

std::vector<Bar> memory_bars(const std::vector<BlockRow>& rows);
Json memory_json(const MemoryResult& result);
std::string memory_text(const MemoryResult& result);

}  // namespace kvkeep::bench
