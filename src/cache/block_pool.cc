#include "cache/block_pool.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <new>
#include <numeric>

#include "base/check.h"

namespace kvkeep {
namespace {

constexpr size_t kSmallRun = size_t{128} << 10;
constexpr size_t kLargeRun = size_t{2} << 20;    // one huge page
constexpr size_t kLargePool = size_t{16} << 20;  // from here on runs are large
const size_t kPage = static_cast<size_t>(::sysconf(_SC_PAGESIZE));

size_t round_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

std::byte* map_pages(size_t bytes) {
  void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) throw std::bad_alloc();
  return static_cast<std::byte*>(data);
}

// `bytes` (a multiple of kLargeRun) on a huge-page boundary.
std::byte* map_aligned(size_t bytes) {
  std::byte* raw = map_pages(bytes + kLargeRun);
  const size_t skew = reinterpret_cast<uintptr_t>(raw) % kLargeRun;
  const size_t before = skew ? kLargeRun - skew : 0;
  if (before) ::munmap(raw, before);
  if (kLargeRun - before) ::munmap(raw + before + bytes, kLargeRun - before);
  return raw + before;
}

// Advice: small pages work as well.
void want_huge_pages(std::byte* data, size_t bytes) { ::madvise(data, bytes, MADV_HUGEPAGE); }

// The same for pages in use, now and not when the kernel finds time (Linux 6.1; else it will).
void make_huge_pages(std::byte* data, size_t bytes) {
  want_huge_pages(data, bytes);
  constexpr int kCollapse = 25;  // MADV_COLLAPSE, which older headers lack
  ::madvise(data, bytes, kCollapse);
}

}  // namespace

BlockPool::BlockPool(size_t block_bytes) : block_bytes_(block_bytes) {
  KVKEEP_CHECK(block_bytes > 0 && block_bytes % 64 == 0, "block_bytes = {}", block_bytes);
}

BlockPool::~BlockPool() {
  for (const Run& run : runs_)
    if (run.data) ::munmap(run.data, run.bytes);
  if (region_left_) ::munmap(region_end() - region_left_, region_left_);
}

// The next run of a region that is on its way to become one huge page, if runs fill it. What is not
// handed out is not touched, so it takes no memory. All small runs are equally long: how many bytes
// a cache takes must not depend on which of them it comes to lie in.
BlockPool::Run BlockPool::map_small_run() {
  Run run;
  run.bytes = round_up(round_up(kSmallRun, block_bytes_), kPage);
  if (run.bytes > kLargeRun / 2) {
    run.data = map_pages(run.bytes);
    return run;
  }
  if (region_left_ == 0) {
    const size_t rest = kLargeRun % run.bytes;
    region_ = map_aligned(kLargeRun);
    ::madvise(region_, kLargeRun, MADV_NOHUGEPAGE);  // one touch takes one page until it is full
    if (rest) ::munmap(region_ + (kLargeRun - rest), rest);
    region_bytes_ = region_left_ = kLargeRun - rest;
    region_whole_ = rest == 0;
  }
  run.data = region_end() - region_left_;
  region_left_ -= run.bytes;
  return run;
}

uint32_t BlockPool::map_run() {
  if (region_whole_ && region_left_ == 0) {  // its blocks are all handed out
    make_huge_pages(region_, kLargeRun);
    region_whole_ = false;
  }
  Run run;
  if (resident_ < kLargePool) {
    run = map_small_run();
  } else {
    run.bytes = round_up(block_bytes_, kLargeRun);
    run.data = map_aligned(run.bytes);
    want_huge_pages(run.data, run.bytes);
  }
  run.capacity = static_cast<uint32_t>(run.bytes / block_bytes_);
  run.free.resize(run.capacity);
  std::iota(run.free.begin(), run.free.end(), 0u);
  if (run.bytes >= kLargeRun) run.touched = run.capacity;  // one touch may take all of a huge page
  resident_ += touched_bytes(run);
  uint32_t number = 0;
  while (number < runs_.size() && runs_[number].data) ++number;
  if (number == runs_.size()) runs_.emplace_back();
  runs_[number] = std::move(run);
  open_.insert(number);
  return number;
}

uint32_t BlockPool::Run::end() const {
  std::vector<bool> used(capacity, true);
  for (const uint32_t index : free) used[index] = false;
  uint32_t end = capacity;
  while (end > 0 && !used[end - 1]) --end;
  return end;
}

size_t BlockPool::touched_bytes(const Run& run) const {
  if (run.touched == run.capacity) return run.bytes;
  return round_up(run.touched * block_bytes_, kPage);
}

BlockRef BlockPool::take(uint32_t number) {
  Run& run = runs_[number];
  const uint32_t index = run.free.front();
  std::pop_heap(run.free.begin(), run.free.end(), std::greater<>());
  run.free.pop_back();
  if (run.free.empty()) open_.erase(number);
  if (index >= run.touched) {
    resident_ -= touched_bytes(run);
    run.touched = index + 1;
    resident_ += touched_bytes(run);
  }
  ++in_use_;
  return {run.data + index * block_bytes_, number};
}

void BlockPool::give(BlockRef block) {
  Run& run = runs_[block.run];
  const auto offset = static_cast<size_t>(block.data - run.data);
  KVKEEP_CHECK(offset % block_bytes_ == 0 && offset < run.bytes, "offset = {}", offset);
  run.free.push_back(static_cast<uint32_t>(offset / block_bytes_));
  std::push_heap(run.free.begin(), run.free.end(), std::greater<>());
  open_.insert(block.run);
  --in_use_;
  if (run.free.size() < run.capacity) return;
  resident_ -= touched_bytes(run);
  ::munmap(run.data, run.bytes);
  region_whole_ &= run.data < region_ || run.data >= region_ + kLargeRun;
  open_.erase(block.run);
  run = Run{};
}

BlockRef BlockPool::allocate() {
  const BlockRef block = reserve();
  std::memset(block.data, 0, block_bytes_);
  return block;
}

BlockRef BlockPool::reserve() {
  std::lock_guard lock(mutex_);
  return take(open_.empty() ? map_run() : *open_.begin());
}

void BlockPool::free(BlockRef block) {
  std::lock_guard lock(mutex_);
  if (!release_share(block)) give(block);
}

void BlockPool::share(BlockRef block) {
  std::lock_guard lock(mutex_);
  uint32_t& owners = owners_.try_emplace(block.data, 1).first->second;
  ++owners;
  shared_ = owners_.size();
}

bool BlockPool::shared(BlockRef block) const {
  if (shared_ == 0) return false;
  std::lock_guard lock(mutex_);
  return owners_.contains(block.data);
}

// One owner less; false if the block had only one.
bool BlockPool::release_share(BlockRef block) {
  const auto found = owners_.find(block.data);
  if (found == owners_.end()) return false;
  if (--found->second == 1) owners_.erase(found);
  shared_ = owners_.size();
  return true;
}

void BlockPool::make_own(BlockRef* block) {
  if (shared_ == 0) return;
  std::lock_guard lock(mutex_);
  if (!owners_.contains(block->data)) return;
  const BlockRef place = take(open_.empty() ? map_run() : *open_.begin());
  std::memcpy(place.data, block->data, block_bytes_);
  release_share(*block);
  *block = place;
}

bool BlockPool::move_down(BlockRef* block) {
  std::lock_guard lock(mutex_);
  if (open_.empty() || *open_.begin() > block->run) return false;
  const Run& first = runs_[*open_.begin()];
  const bool before = first.data + first.free.front() * block_bytes_ < block->data;
  if ((*open_.begin() == block->run && !before) || owners_.contains(block->data)) return false;
  const BlockRef place = take(*open_.begin());
  std::memcpy(place.data, block->data, block_bytes_);
  give(*block);
  *block = place;
  return true;
}

bool BlockPool::has_holes() const {
  std::lock_guard lock(mutex_);
  if (open_.empty()) return false;
  const uint32_t first = *open_.begin();
  return runs_[first].free.front() < runs_[first].end() ||
         std::any_of(runs_.begin() + first + 1, runs_.end(),
                     [](const Run& run) { return run.data != nullptr; });
}

void BlockPool::trim() {
  std::lock_guard lock(mutex_);
  for (const uint32_t number : open_) {
    Run& run = runs_[number];
    if (run.bytes >= kLargeRun) continue;
    const size_t before = touched_bytes(run);
    run.touched = run.end();
    const size_t bytes = touched_bytes(run);
    if (bytes == before) continue;
    ::madvise(run.data, run.bytes, MADV_NOHUGEPAGE);  // or the kernel would fill it up again
    ::madvise(run.data + bytes, before - bytes, MADV_DONTNEED);
    resident_ -= before - bytes;
  }
}

BlockPool::Use BlockPool::use() const {
  std::lock_guard lock(mutex_);
  return {resident_, in_use_};
}

size_t BlockPool::free_bytes() const {
  std::lock_guard lock(mutex_);
  size_t bytes = 0;
  for (const Run& run : runs_)
    bytes += touched_bytes(run) - (run.capacity - run.free.size()) * block_bytes_;
  return bytes;
}

size_t BlockPool::table_bytes() const {
  std::lock_guard lock(mutex_);
  size_t bytes = runs_.capacity() * sizeof(Run);
  bytes += owners_.size() * (sizeof(void*) + sizeof(*owners_.begin()));
  for (const Run& run : runs_) bytes += run.free.capacity() * sizeof(uint32_t);
  return bytes;
}

}  // namespace kvkeep
