#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <set>
#include <utility>

#include "base/rng.h"
#include "cache/sequence.h"

namespace kvkeep {
namespace {

TEST(BlockPool, HandsOutDistinctZeroedAlignedBlocks) {
  BlockPool pool(192);
  std::set<std::byte*> seen;
  std::vector<BlockRef> blocks;
  for (int i = 0; i < 3000; ++i) {
    blocks.push_back(pool.allocate());
    EXPECT_TRUE(seen.insert(blocks.back().data).second);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(blocks.back().data) % 64, 0u);
    for (int b = 0; b < 192; ++b) ASSERT_EQ(blocks.back().data[b], std::byte{0});
    std::memset(blocks.back().data, 0xff, 192);
  }
  EXPECT_EQ(pool.blocks_in_use(), 3000u);
  EXPECT_GE(pool.resident_bytes(), 3000u * 192u);
  for (const BlockRef& block : blocks) pool.free(block);
  EXPECT_EQ(pool.resident_bytes(), 0u);
  EXPECT_EQ(pool.allocate().data[5], std::byte{0});  // a reused place is zero again
}

TEST(BlockPool, RunsAreLargeAndGrowWithThePool) {
  BlockPool pool(16 << 10);
  std::vector<BlockRef> blocks = {pool.allocate()};
  EXPECT_EQ(pool.resident_bytes(), 16u << 10);  // of a run of 128 KiB
  while (pool.resident_bytes() < (24u << 20)) blocks.push_back(pool.allocate());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(blocks.back().data) % (2u << 20), 0u);
  for (const BlockRef& block : blocks) pool.free(block);
  EXPECT_EQ(pool.resident_bytes(), 0u);
}

// Small runs stand side by side, so that a full region can be one huge page.
TEST(BlockPool, SmallRunsFillARegionAndGoBackOneByOne) {
  constexpr size_t kHuge = size_t{2} << 20;
  for (const size_t bytes : {size_t{8192}, size_t{9280}}) {  // 16 runs, and 15 with a rest
    BlockPool pool(bytes);
    std::vector<BlockRef> blocks;
    const size_t run = bytes == 8192 ? 128 << 10 : 139264, runs = kHuge / run,
                 per_run = run / bytes;
    while (blocks.size() < 2 * runs * per_run) blocks.push_back(pool.allocate());
    EXPECT_EQ(pool.resident_bytes(), 2 * runs * run);
    std::set<uintptr_t> regions;
    for (const BlockRef& block : blocks)
      regions.insert(reinterpret_cast<uintptr_t>(block.data) / kHuge);
    EXPECT_EQ(regions.size(), 2u);
    for (size_t i = 0; i < blocks.size(); ++i)
      std::memset(blocks[i].data, static_cast<int>(i), bytes);
    for (int i = 0; i < 5; ++i) blocks.push_back(pool.allocate());  // a third region
    for (size_t i = 0; i < 300; ++i)
      EXPECT_EQ(blocks[i].data[bytes - 1], static_cast<std::byte>(i))
          << "lost when pages were joined";
    for (size_t i = 0; i < 7 * per_run; ++i) pool.free(blocks[i]);
    const size_t pages = (5 * bytes + 4095) / 4096 * 4096;
    EXPECT_EQ(pool.resident_bytes(), (2 * runs - 7) * run + pages);
    for (size_t i = 7 * per_run; i < blocks.size(); ++i) pool.free(blocks[i]);
    EXPECT_EQ(pool.resident_bytes(), 0u);
  }
}

TEST(BlockPool, SmallRunsAreCountedToTheLastBlock) {
  BlockPool pool(10 << 10);  // thirteen a run, which ends 2 KiB behind them
  std::vector<BlockRef> blocks;
  for (int i = 0; i < 13; ++i) {
    blocks.push_back(pool.allocate());
    blocks.back().data[7] = static_cast<std::byte>(i);
  }
  EXPECT_EQ(pool.resident_bytes(), 132u << 10);
  pool.free(blocks[12]);
  EXPECT_FALSE(pool.has_holes());
  EXPECT_EQ(pool.resident_bytes(), 132u << 10) << "was touched";
  pool.trim();
  EXPECT_EQ(pool.resident_bytes(), 120u << 10);
  pool.free(blocks[0]);
  EXPECT_TRUE(pool.has_holes());
  EXPECT_TRUE(pool.move_down(&blocks[11]));
  EXPECT_FALSE(pool.has_holes());
  EXPECT_FALSE(pool.move_down(&blocks[10]));
  pool.trim();
  EXPECT_EQ(pool.resident_bytes(), 112u << 10);  // 110
  EXPECT_EQ(pool.free_bytes(), 2u << 10);
  EXPECT_EQ(blocks[11].data[7], std::byte{11});
  EXPECT_EQ(blocks[10].data[7], std::byte{10});
  EXPECT_EQ(pool.allocate().data[7], std::byte{0});
}

TEST(BlockPool, MoveDownKeepsContents) {
  BlockPool pool(64 << 10);  // two blocks a run
  std::vector<BlockRef> blocks;
  for (int i = 0; i < 6; ++i) {
    blocks.push_back(pool.allocate());
    blocks.back().data[7] = static_cast<std::byte>(i);
  }
  pool.free(blocks[0]);
  pool.free(blocks[2]);
  EXPECT_TRUE(pool.move_down(&blocks[5]));
  EXPECT_TRUE(pool.move_down(&blocks[4]));
  EXPECT_EQ(blocks[5].data[7], std::byte{5});
  EXPECT_EQ(blocks[4].data[7], std::byte{4});
  EXPECT_EQ(pool.resident_bytes(), 2u * (128u << 10));  // the third run went back
  EXPECT_FALSE(pool.move_down(&blocks[1]));
}

TEST(Tier, AppendsPopsAndFreesEmptyBlocks) {
  const TierShape shape{256, 128, true};
  BlockPool pool(shape.block_bytes());
  Tier tier(&pool, nullptr, shape);
  for (int i = 0; i < 130; ++i) EXPECT_EQ(tier.append(1000 + i, 0.5f * static_cast<float>(i)), i);
  EXPECT_EQ(tier.blocks(), 3);
  EXPECT_EQ(tier.position(129), 1129);
  EXPECT_EQ(tier.score(64), 32.0f);
  EXPECT_EQ(tier.v_part(2) - tier.k_part(2), 256);
  tier.truncate(128);
  EXPECT_EQ(tier.blocks(), 2);
  EXPECT_EQ(pool.blocks_in_use(), 2u);
}

// A tier with extents of four blocks, whose bytes tell their slot.
struct Extents {
  static constexpr size_t kPart = 16 << 10;
  TierShape shape{kPart, kPart, false, Positions::in_order};
  BlockPool pool{shape.block_bytes()}, extents{4 * shape.block_bytes()};
  Tier tier{&pool, &extents, shape};

  static std::byte mark(int slot) { return static_cast<std::byte>(slot * 7 + slot / 64); }
  static size_t at(int slot) { return static_cast<size_t>(slot % 64) * 256 + 5; }
  void append(Tier* to, int blocks) {
    for (int i = 0; i < 64 * blocks; ++i) {
      const int slot = to->append(to->size(), 0.0f);
      to->k_part(slot / 64)[at(slot)] = mark(slot);
    }
  }
  static void expect_state(const Tier& of, int extent_count, int single_count) {
    EXPECT_EQ(of.extents(), extent_count);
    EXPECT_EQ(of.single_blocks(), single_count);
    for (int slot = 0; slot < of.size(); ++slot)
      ASSERT_EQ(of.k_part(slot / 64)[at(slot)], mark(slot)) << slot;
    for (int b = 0; b < 4 * extent_count; ++b)
      EXPECT_EQ(of.k_part(b), of.k_part(b / 4 * 4) + static_cast<size_t>(b % 4) * 2 * kPart) << b;
  }
};

TEST(Tier, SettlesFullGroupsIntoExtentsAndBack) {
  Extents f;
  f.append(&f.tier, 4);
  f.tier.settle();
  f.expect_state(f.tier, 0, 4);  // full, but a row that leaves would break it
  f.append(&f.tier, 1);
  f.expect_state(f.tier, 0, 5);
  f.tier.settle();
  f.expect_state(f.tier, 1, 1);
  EXPECT_EQ(f.pool.blocks_in_use(), 1u);
  f.append(&f.tier, 9);
  f.tier.settle();
  f.expect_state(f.tier, 3, 2);
  f.tier.truncate(64 * 8 + 1);  // one slot of the third extent is left
  f.expect_state(f.tier, 3, 0);
  EXPECT_EQ(f.tier.blocks(), 9);
  EXPECT_EQ(f.tier.allocated_blocks(), 12);
  f.append(&f.tier, 1);  // into the place that is there
  EXPECT_EQ(f.tier.allocated_blocks(), 12);
  f.tier.settle();
  f.expect_state(f.tier, 2, 2);
  f.tier.truncate(64 * 3 - 1);  // across a whole extent
  EXPECT_EQ(f.extents.blocks_in_use(), 1u);
  f.tier.settle();
  f.expect_state(f.tier, 0, 3);
  EXPECT_EQ(f.extents.blocks_in_use(), 0u);
  f.tier.truncate(0);
  EXPECT_EQ(f.pool.blocks_in_use(), 0u);
}

TEST(Tier, ForksShareExtentsUntilOneWrites) {
  Extents f;
  f.append(&f.tier, 7);
  f.tier.settle();
  {
    Tier fork = f.tier.fork();
    EXPECT_EQ(fork.shared_blocks(), 7);
    EXPECT_EQ(f.extents.blocks_in_use(), 1u);
    EXPECT_EQ(f.pool.blocks_in_use(), 3u);
    fork.k_part(2)[1] = std::byte{1};  // copies the extent
    EXPECT_EQ(std::as_const(f.tier).k_part(2)[1], std::byte{0});
    EXPECT_EQ(fork.shared_blocks(), 3);
    EXPECT_EQ(f.extents.blocks_in_use(), 2u);
    f.append(&fork, 2);
    fork.settle();
    f.expect_state(fork, 1, 5);  // its group has shared blocks and stays single
    f.append(&f.tier, 2);
    f.tier.truncate(1);
    f.tier.settle();
    f.expect_state(fork, 1, 5);
    fork.settle();
    f.expect_state(fork, 2, 1);  // nobody shares them any more
  }
  EXPECT_EQ(f.extents.blocks_in_use(), 0u);
  EXPECT_EQ(f.pool.blocks_in_use(), 1u);
  f.expect_state(f.tier, 0, 1);
}

TEST(Tier, ExtentsFillHugePages) {
  EXPECT_EQ(blocks_per_extent(128 << 10), 1);
  EXPECT_EQ(blocks_per_extent(64 << 10), 2);
  for (size_t bytes = 64; bytes < (128 << 10); bytes += 64) {
    const size_t extent = static_cast<size_t>(blocks_per_extent(bytes)) * bytes;
    EXPECT_GE(extent, size_t{128} << 10);
    EXPECT_LE(extent, size_t{512} << 10);
    if (bytes < (16 << 10)) {
      EXPECT_LE((2 << 20) % extent, (2 << 20) / 24) << bytes;
    }
  }
}

// Bytes of address space this process has mapped.
size_t mapped_bytes() {
  std::ifstream file("/proc/self/statm");
  size_t total = 0;
  file >> total;
  return total * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

TEST(Sequence, ReportedBytesAreTheMappedOnesAndShrinkWithTheTiers) {
  const size_t before = mapped_bytes();
  Sequence cache(3, 2, {{8192, 8192, true}, {1024, 1024, false}});
  Rng rng(1);
  for (int layer = 0; layer < 3; ++layer)
    for (int head = 0; head < 2; ++head)
      for (int i = 0; i < 20000; ++i) cache.tier(layer, head, 0).append(i, 0.0f);
  const size_t full = cache.resident_bytes();
  const double mapped = static_cast<double>(mapped_bytes() - before);
  EXPECT_GE(mapped, static_cast<double>(full) * 0.98);
  EXPECT_LE(mapped, static_cast<double>(full) + 2 * (2 << 20));  // regions not handed out yet
  EXPECT_LT(cache.usage().slack, full / 32 + (2 << 20));         // the last huge page is not full
  for (int layer = 0; layer < 3; ++layer)
    for (int head = 0; head < 2; ++head) {
      cache.tier(layer, head, 0).truncate(2000);
      for (int i = 0; i < 18000; ++i) cache.tier(layer, head, 1).append(i, 0.0f);
    }
  cache.compact();
  EXPECT_LT(cache.resident_bytes(), full / 3);
  const CacheUsage usage = cache.usage();
  EXPECT_EQ(usage.parts + usage.positions + usage.scores + usage.slack + usage.tables,
            cache.resident_bytes());
  EXPECT_EQ(usage.positions, 6u * 20000u * 4u);
  EXPECT_EQ(usage.scores, 6u * 2000u * 2u);
}

}  // namespace
}  // namespace kvkeep
