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

Tier::~Tier() {
  for (const BlockRef& block : blocks_) pool_->free(block);
}

Tier::Tier(Tier&& other) noexcept
    : pool_(other.pool_),
      shape_(other.shape_),
      blocks_(std::exchange(other.blocks_, {})),
      size_(std::exchange(other.size_, 0)) {}

Tier Tier::fork() const {
  Tier copy(pool_, shape_);
  copy.blocks_ = blocks_;
  copy.size_ = size_;
  for (const BlockRef& block : blocks_) pool_->share(block);
  return copy;
}

std::byte* Tier::own(int block) {
  BlockRef& ref = blocks_[static_cast<size_t>(block)];
  pool_->make_own(&ref);
  return ref.data;
}

int Tier::append(int32_t position, float score) {
  if (size_ == blocks() * kTierBlockSlots) blocks_.push_back(pool_->allocate());
  const int slot = size_++;
  set_position(slot, position);
  if (!shape_.scored) return slot;
  set_score(slot, score);
  for (int lane = 1; lane <= shape_.head_scores; ++lane) set_score(slot, 0.0f, lane);
  return slot;
}

void Tier::pop() {
  KVKEEP_CHECK(size_ > 0);
  if (--size_ % kTierBlockSlots != 0) return;
  pool_->free(blocks_.back());
  blocks_.pop_back();
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
  for (int lane = 0; lane < count; ++lane) out[lane] = position(block * kTierBlockSlots + lane);
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
  for (int lane = 0; shape_.scored && lane <= shape_.head_scores; ++lane)
    set_score(to, score(from, lane), lane);
}

bool Tier::compact() {
  bool moved = false;
  for (BlockRef& block : blocks_) moved |= pool_->move_down(&block);
  if (blocks_.capacity() > 2 * blocks_.size() + 8) blocks_.shrink_to_fit();
  return moved;
}

int Tier::shared_blocks() const {
  return static_cast<int>(std::count_if(
      blocks_.begin(), blocks_.end(), [&](const BlockRef& block) { return pool_->shared(block); }));
}

}  // namespace kvkeep
