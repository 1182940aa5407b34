// Memory for blocks of one size, handed out in runs so that a sequence is mostly contiguous.
//
//   run (>= 128 KiB, side by side in regions of 2 MiB that become huge pages once runs fill them;
//        2 MiB on huge pages from the start once the pool is large)
//   +-------+-------+-------+-- ... --+------+
//   | block | block | free  |         | rest |
//   +-------+-------+-------+-- ... --+------+
//
// A run goes back to the operating system when its last block is freed; compaction (Sequence) moves
// blocks into the lowest free places first, so memory that compression frees is really freed. Of a
// small run the pages behind its last block are neither touched nor counted, so that a small cache
// is measured to the page.
// A block may have several owners (forks of a sequence): it stays where it is until one is left,
// and make_own gives a writer its copy. All of it may be called from several threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <set>
#include <unordered_map>
#include <vector>

namespace kvkeep {

struct BlockRef {
  std::byte* data = nullptr;  // 64-byte aligned
  uint32_t run = 0;
};

class BlockPool {
 public:
  explicit BlockPool(size_t block_bytes);  // a multiple of 64
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  BlockRef allocate();         // zeroed; throws std::bad_alloc when the machine has no memory left
  BlockRef reserve();          // the same with any contents, for who writes all of it
  void free(BlockRef block);   // by one of its owners
  void share(BlockRef block);  // one owner more
  bool shared(BlockRef block) const;
  // Gives the caller, one of several owners, a copy of its own.
  void make_own(BlockRef* block);
  // Moves the block to the first free place if that lies before it and nobody shares the block.
  bool move_down(BlockRef* block);
  bool has_holes() const;  // there is a free place before the last block: move_down may succeed
  void trim();             // gives back the pages behind the last block of small runs

  size_t block_bytes() const { return block_bytes_; }
  struct Use {
    size_t resident = 0;  // memory of all runs, without the untouched ends of small ones
    size_t blocks = 0;    // handed out
  };
  Use use() const;  // both of the same moment
  size_t resident_bytes() const { return use().resident; }
  size_t table_bytes() const;  // of the pool's own lists
  size_t blocks_in_use() const { return use().blocks; }
  size_t free_bytes() const;  // free blocks and ends of runs

 private:
  struct Run {
    std::byte* data = nullptr;  // nullptr: given back, number reusable
    size_t bytes = 0;
    uint32_t capacity = 0;
    uint32_t touched = 0;        // blocks up to the last one handed out since the last trim
    std::vector<uint32_t> free;  // block indices inside the run, a heap with the lowest on top

    uint32_t end() const;  // one past the last block in use
  };
  std::byte* region_end() const { return region_ + region_bytes_; }
  Run map_small_run();
  uint32_t map_run();
  size_t touched_bytes(const Run& run) const;
  BlockRef take(uint32_t run);
  void give(BlockRef block);
  bool release_share(BlockRef block);

  const size_t block_bytes_;
  mutable std::mutex mutex_;
  std::vector<Run> runs_;
  std::set<uint32_t> open_;                                // runs with a free block
  std::unordered_map<const std::byte*, uint32_t> owners_;  // of blocks that have several
  std::atomic<size_t> shared_ = 0;                         // size of owners_
  size_t resident_ = 0, in_use_ = 0;
  std::byte* region_ = nullptr;  // where small runs come from
  size_t region_bytes_ = 0;      // as many as equal runs fill
  size_t region_left_ = 0;       // bytes at its end that no run has taken
  bool region_whole_ = false;    // runs fill it, none was given back, and it is not huge yet
};

}  // namespace kvkeep
