#include "cache/tier.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/half.h"

namespace kvkeep {
namespace {

constexpr float kMostScore = 65504.0f;

template <class T>
T load(const std::byte* from, int index) {
  T value;
  std::memcpy(&value, from + static_cast<size_t>(index) * sizeof(T), sizeof(T));
  return value;
}

template <class T>
void store(std::byte* to, int index, T value) {
  std::memcpy(to + static_cast<size_t>(index) * sizeof(T), &value, sizeof(T));
}

}  // namespace

int blocks_per_extent(size_t block_bytes) {
  constexpr size_t kExtent = size_t{128} << 10, kHugePage = size_t{2} << 20;
  const size_t least = (kExtent + block_bytes - 1) / block_bytes;
  size_t best = least;
  for (size_t count = least; count < 2 * least; ++count)
    if (kHugePage % (count * block_bytes) < kHugePage % (best * block_bytes)) best = count;
  return static_cast<int>(best);
}

Tier::Tier(BlockPool* pool, BlockPool* extents, const TierShape& shape)
    : pool_(pool),
      extents_pool_(extents),
      shape_(shape),
      per_extent_(extents ? static_cast<int>(extents->block_bytes() / pool->block_bytes()) : 1) {}

Tier::~Tier() {
  for (int i = 0; i < extents_; ++i) extents_pool_->free(extent(i));
  for (int i = extents_ * per_extent_; i < allocated_blocks(); ++i)
    pool_->free(blocks_[static_cast<size_t>(i)]);
}

Tier::Tier(Tier&& other) noexcept
    : pool_(other.pool_),
      extents_pool_(other.extents_pool_),
      shape_(other.shape_),
      per_extent_(other.per_extent_),
      blocks_(std::exchange(other.blocks_, {})),
      extents_(std::exchange(other.extents_, 0)),
      size_(std::exchange(other.size_, 0)) {}

Tier Tier::fork() const {
  Tier copy(pool_, extents_pool_, shape_);
  copy.blocks_ = blocks_;
  copy.extents_ = extents_;
  copy.size_ = size_;
  for (int i = 0; i < extents_; ++i) extents_pool_->share(copy.extent(i));
  for (int i = extents_ * per_extent_; i < allocated_blocks(); ++i)
    pool_->share(blocks_[static_cast<size_t>(i)]);
  return copy;
}

void Tier::put_extent(int index, BlockRef place) {
  BlockRef* blocks = &extent(index);
  for (int i = 0; i < per_extent_; ++i, place.data += pool_->block_bytes()) blocks[i] = place;
}

std::byte* Tier::own(int block) {
  if (block >= extents_ * per_extent_) {
    BlockRef& ref = blocks_[static_cast<size_t>(block)];
    pool_->make_own(&ref);
    return ref.data;
  }
  BlockRef place = extent(block / per_extent_);
  extents_pool_->make_own(&place);
  if (place.data != extent(block / per_extent_).data) put_extent(block / per_extent_, place);
  return blocks_[static_cast<size_t>(block)].data;
}

void Tier::make_own(int first, int last) {
  const int in_extents = extents_ * per_extent_;
  for (int block = first; block < last;) {
    own(block);
    block = block < in_extents ? (block / per_extent_ + 1) * per_extent_ : block + 1;
  }
}

// Moves a full group into an extent, unless a fork still uses it: that would cost its bytes twice.
void Tier::gather() {
  BlockRef* group = &extent(extents_);
  if (std::any_of(group, group + per_extent_,
                  [&](const BlockRef& block) { return pool_->shared(block); }))
    return;
  const BlockRef place = extents_pool_->reserve();
  const size_t bytes = pool_->block_bytes();
  for (int i = 0; i < per_extent_; ++i) {
    std::memcpy(place.data + static_cast<size_t>(i) * bytes, group[i].data, bytes);
    pool_->free(group[i]);
  }
  put_extent(extents_++, place);
}

// What is in use of the last extent becomes single blocks.
void Tier::break_last_extent() {
  const BlockRef place = extent(--extents_);
  blocks_.resize(static_cast<size_t>(blocks()));
  for (int i = extents_ * per_extent_; i < blocks(); ++i) {
    BlockRef& block = blocks_[static_cast<size_t>(i)];
    const BlockRef single = pool_->reserve();
    std::memcpy(single.data, block.data, pool_->block_bytes());
    block = single;
  }
  extents_pool_->free(place);
}

void Tier::settle() {
  if (extents_ > 0 && blocks() < extents_ * per_extent_) break_last_extent();
  for (int before = -1; extents_pool_ && single_blocks() > per_extent_ && before != extents_;) {
    before = extents_;
    gather();
  }
}

int Tier::append(int32_t position, float score) {
  if (size_ == allocated_blocks() * kTierBlockSlots) blocks_.push_back(pool_->allocate());
  const int slot = size_++;
  set_position(slot, position);
  for (int lane = 0; lane < shape_.lanes(); ++lane)
    set_score(slot, lane == 0 && shape_.scored ? score : 0.0f, lane);
  return slot;
}

void Tier::truncate(int size) {
  KVKEEP_CHECK(size >= 0 && size <= size_, "{} of {}", size, size_);
  size_ = size;
  for (; allocated_blocks() > std::max(blocks(), extents_ * per_extent_); blocks_.pop_back())
    pool_->free(blocks_.back());
  for (; extents_ > 0 && blocks() <= (extents_ - 1) * per_extent_;
       blocks_.resize(static_cast<size_t>(extents_ * per_extent_)))
    extents_pool_->free(extent(--extents_));
}

int32_t Tier::position(int slot) const {
  KVKEEP_CHECK(knows_positions());
  if (shape_.positions == Positions::in_order) return shape_.first + slot;
  const std::byte* at = k_part(slot / kTierBlockSlots) + shape_.position_offset();
  const int lane = slot % kTierBlockSlots;
  if (shape_.positions == Positions::bits16) return load<uint16_t>(at, lane);
  return load<int32_t>(at, lane);
}

void Tier::positions(int block, int count, int32_t* out) const {
  KVKEEP_CHECK(knows_positions());
  const std::byte* at = k_part(block) + shape_.position_offset();
  if (shape_.positions == Positions::in_order) {
    for (int lane = 0; lane < count; ++lane)
      out[lane] = shape_.first + block * kTierBlockSlots + lane;
  } else if (shape_.positions == Positions::bits16) {
    for (int lane = 0; lane < count; ++lane) out[lane] = load<uint16_t>(at, lane);
  } else {
    for (int lane = 0; lane < count; ++lane) out[lane] = load<int32_t>(at, lane);
  }
}

void Tier::set_position(int slot, int32_t position) {
  if (shape_.positions == Positions::none) return;
  if (shape_.positions == Positions::in_order) {
    KVKEEP_CHECK(position == shape_.first + slot, "position {} in slot {} after {}", position, slot,
                 shape_.first);
    return;
  }
  std::byte* at = own(slot / kTierBlockSlots) + shape_.position_offset();
  const int lane = slot % kTierBlockSlots;
  if (shape_.positions == Positions::bits16) {
    KVKEEP_CHECK(position >= 0 && position < 65536, "position {}", position);
    store(at, lane, static_cast<uint16_t>(position));
  } else {
    store(at, lane, position);
  }
}

float Tier::score(int slot, int lane) const {
  return f16_to_f32(
      load<uint16_t>(score_lane(slot / kTierBlockSlots, lane), slot % kTierBlockSlots));
}

void Tier::set_score(int slot, float score, int lane) {
  std::byte* at = own(slot / kTierBlockSlots) + shape_.score_offset();
  store(at, lane * kTierBlockSlots + slot % kTierBlockSlots,
        f32_to_f16(std::clamp(score, -kMostScore, kMostScore)));
}

void Tier::move_tags(int to, int from) {
  if (knows_positions()) set_position(to, position(from));
  for (int lane = 0; lane < shape_.lanes(); ++lane) set_score(to, score(from, lane), lane);
}

bool Tier::compact() {
  bool moved = false;
  for (int i = 0; i < extents_; ++i)
    if (BlockRef place = extent(i); extents_pool_->move_down(&place)) {
      put_extent(i, place);
      moved = true;
    }
  for (int i = extents_ * per_extent_; i < allocated_blocks(); ++i)
    moved |= pool_->move_down(&blocks_[static_cast<size_t>(i)]);
  if (blocks_.capacity() > 2 * blocks_.size() + 8) blocks_.shrink_to_fit();
  return moved;
}

int Tier::shared_blocks() const {
  int shared = 0;
  for (int i = 0; i < extents_; ++i)
    shared += extents_pool_->shared(blocks_[static_cast<size_t>(i * per_extent_)]) * per_extent_;
  for (int i = extents_ * per_extent_; i < allocated_blocks(); ++i)
    shared += pool_->shared(blocks_[static_cast<size_t>(i)]);
  return shared;
}

}  // namespace kvkeep
