#include "cache/tier.h"

#include <utility>

#include "base/check.h"

namespace kvkeep {

Tier::~Tier() {
  for (const BlockRef& block : blocks_) pool_->free(block);
}

Tier::Tier(Tier&& other) noexcept
    : pool_(other.pool_),
      shape_(other.shape_),
      blocks_(std::exchange(other.blocks_, {})),
      size_(std::exchange(other.size_, 0)) {}

int Tier::append(int32_t position, float score) {
  if (size_ == blocks() * kTierBlockSlots) blocks_.push_back(pool_->allocate());
  const int slot = size_++;
  positions(slot / 64)[slot % 64] = position;
  if (shape_.scored) scores(slot / 64)[slot % 64] = score;
  return slot;
}

void Tier::pop() {
  KVKEEP_CHECK(size_ > 0);
  if (--size_ % kTierBlockSlots != 0) return;
  pool_->free(blocks_.back());
  blocks_.pop_back();
}

int32_t* Tier::positions(int block) {
  return reinterpret_cast<int32_t*>(k_part(block) + shape_.position_offset());
}
float* Tier::scores(int block) {
  return reinterpret_cast<float*>(k_part(block) + shape_.score_offset());
}
const int32_t* Tier::positions(int block) const {
  return reinterpret_cast<const int32_t*>(k_part(block) + shape_.position_offset());
}
const float* Tier::scores(int block) const {
  return reinterpret_cast<const float*>(k_part(block) + shape_.score_offset());
}

bool Tier::compact() {
  bool moved = false;
  for (BlockRef& block : blocks_) moved |= pool_->move_down(&block);
  if (blocks_.capacity() > 2 * blocks_.size() + 8) blocks_.shrink_to_fit();
  return moved;
}

}  // namespace kvkeep
