#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <set>

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
  EXPECT_EQ(pool.resident_bytes(), 128u << 10);
  while (pool.resident_bytes() < (24u << 20)) blocks.push_back(pool.allocate());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(blocks.back().data) % (2u << 20), 0u);
  for (const BlockRef& block : blocks) pool.free(block);
  EXPECT_EQ(pool.resident_bytes(), 0u);
}

// Small runs stand side by side, so that a full region can be one huge page.
TEST(BlockPool, SmallRunsFillARegionAndGoBackOneByOne) {
  constexpr size_t kHuge = size_t{2} << 20;
  BlockPool pool(9280);  // 15 blocks to a run, the last run of a region is longer
  std::vector<BlockRef> blocks;
  while (pool.resident_bytes() < 2 * kHuge) blocks.push_back(pool.allocate());
  EXPECT_EQ(pool.resident_bytes() % kHuge, 0u);
  std::set<uintptr_t> regions;
  for (const BlockRef& block : blocks)
    regions.insert(reinterpret_cast<uintptr_t>(block.data) / kHuge);
  EXPECT_EQ(regions.size(), 2u);
  blocks.push_back(pool.allocate());
  for (size_t i = 0; i < blocks.size(); ++i) std::memset(blocks[i].data, static_cast<int>(i), 9280);
  while (pool.free_bytes() < 4 * 9280) blocks.push_back(pool.allocate());  // a third region
  for (size_t i = 0; i < 300; ++i)
    EXPECT_EQ(blocks[i].data[9279], static_cast<std::byte>(i)) << "lost when pages were joined";
  const size_t all = pool.resident_bytes();
  for (size_t i = 0; i < 100; ++i) pool.free(blocks[i]);
  EXPECT_LT(pool.resident_bytes(), all - 90 * 9280);
  for (size_t i = 100; i < blocks.size(); ++i) pool.free(blocks[i]);
  EXPECT_EQ(pool.resident_bytes(), 0u);
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
  Tier tier(&pool, shape);
  for (int i = 0; i < 130; ++i) EXPECT_EQ(tier.append(1000 + i, 0.5f * static_cast<float>(i)), i);
  EXPECT_EQ(tier.blocks(), 3);
  EXPECT_EQ(tier.position(129), 1129);
  EXPECT_EQ(tier.score(64), 32.0f);
  EXPECT_EQ(tier.v_part(2) - tier.k_part(2), 256);
  tier.pop();
  tier.pop();
  EXPECT_EQ(tier.blocks(), 2);
  EXPECT_EQ(pool.blocks_in_use(), 2u);
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
  EXPECT_NEAR(mapped / static_cast<double>(full), 1.0, 0.02);
  for (int layer = 0; layer < 3; ++layer)
    for (int head = 0; head < 2; ++head) {
      for (int i = 0; i < 18000; ++i) cache.tier(layer, head, 0).pop();
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
