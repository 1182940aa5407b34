#include "eval/bench/memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/rng.h"
#include "eval/bench/spread_report.h"
#include "eval/table.h"

namespace kvkeep::bench {
namespace {

constexpr int kHeads = 64;                        // layers x kv_heads that grow together
constexpr int64_t kItemBlocks = 64;               // of one work item
constexpr size_t kLeastRead = size_t{256} << 20;  // of one measurement
constexpr double kRandomBar = 0.85;

using Order = std::vector<const std::byte*>;

size_t huge_page_bytes() {
  std::ifstream file("/proc/self/smaps_rollup");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("AnonHugePages:"))
      return static_cast<size_t>(std::strtoull(line.c_str() + 14, nullptr, 10)) << 10;
  return 0;
}

// Memory of its own pages, huge ones where the machine gives them.
class Pages {
 public:
  explicit Pages(size_t bytes) : bytes_(bytes + kHuge) {
    map_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map_ == MAP_FAILED) throw std::bad_alloc();
    ::madvise(map_, bytes_, MADV_HUGEPAGE);
    std::memset(map_, 1, bytes_);
  }
  ~Pages() { ::munmap(map_, bytes_); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  const std::byte* data() const {
    const auto address = reinterpret_cast<uintptr_t>(map_);
    return reinterpret_cast<const std::byte*>((address + kHuge - 1) / kHuge * kHuge);
  }

 private:
  static constexpr size_t kHuge = size_t{2} << 20;
  size_t bytes_;
  void* map_;
};

// Each thread reads its share of the pages over and over.
double read_set(ThreadPool& pool, const Pages& pages, size_t bytes) {
  const size_t share = bytes / static_cast<size_t>(pool.size()) / 64 * 64;
  const size_t repeats = std::max<size_t>(1, kLeastRead / bytes);
  const double seconds = pool_seconds_of(pool, [&] {
    pool.run(pool.size(), [&](int64_t item, int) {
      for (size_t i = 0; i < repeats; ++i)
        keep(read_sum(pages.data() + static_cast<size_t>(item) * share, share));
    });
  });
  return 1e-9 * static_cast<double>(share * repeats * static_cast<size_t>(pool.size())) / seconds;
}

double read_blocks(ThreadPool& pool, const Order& order, size_t bytes) {
  const auto blocks = static_cast<int64_t>(order.size());
  const double seconds = pool_seconds_of(pool, [&] {
    pool.run((blocks + kItemBlocks - 1) / kItemBlocks, [&](int64_t item, int) {
      for (int64_t b = item * kItemBlocks; b < std::min(blocks, (item + 1) * kItemBlocks); ++b)
        keep(read_sum(order[static_cast<size_t>(b)], bytes));
    });
  });
  return 1e-9 * static_cast<double>(order.size() * bytes) / seconds;
}

// The orders of the blocks of a cache that grew token by token. Extents: what lies together stays
// so, the extents of the tiers and the blocks that stand in none yet; random: block by block.
struct Orders {
  Order sequential, by_head, extents, random;
};

template <class T>
void shuffle(std::vector<T>* items) {
  Rng rng(1);
  for (size_t i = items->size(); i > 1; --i) std::swap((*items)[i - 1], (*items)[rng.below(i)]);
}

Order shuffled_extents(const Order& by_head, size_t block_bytes) {
  std::vector<std::pair<size_t, size_t>> pieces;  // first and last + 1 of blocks side by side
  for (size_t i = 0; i < by_head.size(); ++i)
    if (i > 0 && by_head[i] == by_head[i - 1] + block_bytes)
      pieces.back().second = i + 1;
    else
      pieces.push_back({i, i + 1});
  shuffle(&pieces);
  Order order;
  for (const auto& [first, end] : pieces)
    for (size_t i = first; i < end; ++i) order.push_back(by_head[i]);
  return order;
}

Orders grow(Sequence* cache, size_t blocks) {
  const int rounds = static_cast<int>(blocks / kHeads) + 1;
  const int level = cache->levels() - 1;
  for (int round = 0; round < rounds; ++round) {
    for (int head = 0; head < kHeads; ++head)
      for (int t = 0; t < kTierBlockSlots; ++t)
        cache->tier(0, head, level).append(round * kTierBlockSlots + t, 0.0f);
    cache->settle();
  }
  Orders orders;
  for (int head = 0; head < kHeads; ++head)
    for (int b = 0; b < rounds; ++b)
      orders.by_head.push_back(cache->tier(0, head, level).k_part(b));
  orders.sequential = orders.by_head;
  std::sort(orders.sequential.begin(), orders.sequential.end());
  orders.extents = shuffled_extents(orders.by_head, cache->tier(0, 0, level).shape().block_bytes());
  orders.random = orders.by_head;
  shuffle(&orders.random);
  return orders;
}

std::vector<size_t> sizes_up_to(size_t most) {
  std::vector<size_t> sizes;
  for (size_t bytes = size_t{16} << 10; bytes <= most; bytes *= 4) sizes.push_back(bytes);
  return sizes;
}

bool add_reads(const MemoryOptions& options, const std::vector<std::unique_ptr<ThreadPool>>& pools,
               const std::function<bool()>& tick, std::vector<ReadRow>* rows) {
  const auto sizes = sizes_up_to(options.most_bytes);
  if (sizes.empty()) return true;
  const Pages pages(sizes.back());
  for (const auto& pool : pools) {
    std::vector<std::vector<double>> rates(sizes.size());
    for (int round = -1; round < options.rounds; ++round)
      for (size_t i = 0; i < sizes.size(); ++i) {
        const double rate = read_set(*pool, pages, sizes[i]);
        if (!tick()) return false;
        if (round >= 0) rates[i].push_back(rate);
      }
    for (size_t i = 0; i < sizes.size(); ++i)
      rows->push_back({sizes[i], pool->size(), spread_of(rates[i])});
  }
  return true;
}

// Rows of one layout, for each number of threads.
Result<bool> add_blocks(const LayoutPair& layouts, const MemoryOptions& options,
                        const std::vector<std::unique_ptr<ThreadPool>>& pools,
                        const std::function<bool()>& tick, std::vector<BlockRow>* rows) {
  const auto plan = plan_of(layouts);
  if (!plan) return tl::unexpected(plan.error());
  auto pipeline = Pipeline::make(*plan, {1, kHeads, 128, 1 << 20, {}});
  if (!pipeline) return tl::unexpected(pipeline.error());
  const auto shapes = pipeline->tier_shapes();
  const size_t bytes = shapes.back().k_bytes + shapes.back().v_bytes;
  const size_t huge = huge_page_bytes();
  Sequence cache(1, kHeads, shapes);
  const Orders orders = grow(&cache, options.pool_bytes / bytes);
  const double share = static_cast<double>(huge_page_bytes() - std::min(huge, huge_page_bytes())) /
                       static_cast<double>(cache.resident_bytes());
  for (const auto& pool : pools) {
    std::vector<double> sequential, by_head, extents, random;
    for (int round = -1; round < options.rounds; ++round) {
      const double s = read_blocks(*pool, orders.sequential, bytes);
      const double h = read_blocks(*pool, orders.by_head, bytes);
      const double e = read_blocks(*pool, orders.extents, bytes);
      const double r = read_blocks(*pool, orders.random, bytes);
      if (!tick()) return false;
      if (round < 0) continue;
      sequential.push_back(s), by_head.push_back(h), extents.push_back(e), random.push_back(r);
    }
    rows->push_back({layouts, bytes, pool->size(), std::min(1.0, share), spread_of(sequential),
                     ratio_of(by_head, sequential), ratio_of(extents, sequential),
                     ratio_of(random, sequential)});
  }
  return true;
}

}  // namespace

Result<MemoryResult> bench_memory(const MemoryOptions& options, const ProgressFn& progress) {
  const LayoutPair exact{}, u4{{LayoutId::u4, kGroupHalf}, {LayoutId::u4, kGroupHalf}},
      u2{{LayoutId::u2, kGroupHalf}, {LayoutId::u2, kGroupHalf}};
  std::vector<std::unique_ptr<ThreadPool>> pools;
  for (int threads : options.threads) pools.push_back(std::make_unique<ThreadPool>(threads));
  const double total =
      static_cast<double>((sizes_up_to(options.most_bytes).size() + 3) * pools.size()) *
      (options.rounds + 1);
  double done = 0;
  const auto tick = [&] { return !progress || progress(++done, total); };

  MemoryResult result;
  result.interrupted = !add_reads(options, pools, tick, &result.reads);
  if (result.interrupted) return result;
  for (const LayoutPair& layouts : {exact, u4, u2}) {
    const auto all = add_blocks(layouts, options, pools, tick, &result.blocks);
    if (!all) return tl::unexpected(all.error());
    result.interrupted = !*all;
    if (result.interrupted) break;
  }
  return result;
}

std::vector<Bar> memory_bars(const std::vector<BlockRow>& rows) {
  std::vector<Bar> bars;
  for (const BlockRow& row : rows)
    for (const auto& [what, share] : {std::pair{"extents of ", row.extents}, {"", row.random}})
      bars.push_back({fmt::format("{}{}-byte blocks ({}) at random: share of sequential", what,
                                  row.block_bytes, row.layouts.name()),
                      row.threads, kRandomBar, share.median});
  return bars;
}

Json memory_json(const MemoryResult& result) {
  Json reads = Json::array(), blocks = Json::array();
  for (const ReadRow& row : result.reads)
    reads.push_back({{"bytes", row.bytes},
                     {"threads", row.threads},
                     {"gb_per_s", row.gb_per_s.median},
                     {"gb_per_s_min", row.gb_per_s.min},
                     {"gb_per_s_max", row.gb_per_s.max}});
  for (const BlockRow& row : result.blocks)
    blocks.push_back({{"layout_k", layout_name(row.layouts.k)},
                      {"layout_v", layout_name(row.layouts.v)},
                      {"block_bytes", row.block_bytes},
                      {"threads", row.threads},
                      {"huge_page_share", row.huge_page_share},
                      {"sequential_gb_per_s", row.sequential_gb_per_s.median},
                      {"by_head_of_sequential", row.by_head.median}});
  for (size_t i = 0; i < result.blocks.size(); ++i) {
    add_spread(&blocks[i], "extents_of_sequential", result.blocks[i].extents);
    add_spread(&blocks[i], "random_of_sequential", result.blocks[i].random);
  }
  return {{"reads", reads}, {"blocks", blocks}};
}

std::string memory_text(const MemoryResult& result) {
  Table reads({"working set", "threads", "GB/s (min-max)"});
  for (const ReadRow& row : result.reads)
    reads.add({human_bytes(static_cast<double>(row.bytes)), std::to_string(row.threads),
               range(row.gb_per_s, 1)});
  Table blocks({"<layout", "block bytes", "threads", "huge pages", "sequential GB/s",
                "head by head", "extents at random", "blocks at random"});
  for (const BlockRow& row : result.blocks)
    blocks.add({row.layouts.name(), std::to_string(row.block_bytes), std::to_string(row.threads),
                fmt::format("{:.0f} %", 100 * row.huge_page_share),
                fmt::format("{:.1f}", row.sequential_gb_per_s.median),
                fmt::format("{:.2f}", row.by_head.median), range(row.extents, 2),
                range(row.random, 2)});
  return "plain reads\n" + reads.text() +
         "\nblocks of 64 tokens from the pool, shares of the sequential rate\n" + blocks.text();
}

}  // namespace kvkeep::bench
