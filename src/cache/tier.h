// The tokens of one (layer, kv_head) that share a layout: a dense list of blocks of 64 slots.
//
// Keys are stored after RoPE, so order inside a tier does not matter to attention: a row that
// leaves is replaced by the tier's last one and no hole remains. The cache moves opaque bytes; what
// they mean is the codec's business. A block holds everything about its 64 slots, so moving a block
// moves them:
//
//   block = [K part][V part][64 positions, int32][64 scores, float: only where the plan ranks rows]
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cache/block_pool.h"

namespace kvkeep {

inline constexpr int kTierBlockSlots = 64;

struct TierShape {
  size_t k_bytes = 0, v_bytes = 0;  // of a block's K and V part, multiples of 64
  bool scored = false;

  size_t position_offset() const { return k_bytes + v_bytes; }
  size_t score_offset() const { return position_offset() + kTierBlockSlots * sizeof(int32_t); }
  size_t block_bytes() const {
    return score_offset() + (scored ? kTierBlockSlots * sizeof(float) : 0);
  }
};

class Tier {
 public:
  Tier(BlockPool* pool, const TierShape& shape) : pool_(pool), shape_(shape) {}
  ~Tier();
  Tier(Tier&& other) noexcept;
  Tier& operator=(Tier&&) = delete;

  int size() const { return size_; }  // slots in use
  int blocks() const { return static_cast<int>(blocks_.size()); }
  const TierShape& shape() const { return shape_; }

  int append(int32_t position,
             float score);  // a new last slot; its parts are the caller's to write
  void pop();               // drops the last slot; an empty block is freed

  std::byte* k_part(int block) { return blocks_[static_cast<size_t>(block)].data; }
  std::byte* v_part(int block) { return k_part(block) + shape_.k_bytes; }
  const std::byte* k_part(int block) const { return blocks_[static_cast<size_t>(block)].data; }
  const std::byte* v_part(int block) const { return k_part(block) + shape_.k_bytes; }
  // Arrays of the block's 64 slots; scores only if the shape has them.
  int32_t* positions(int block);
  float* scores(int block);
  const int32_t* positions(int block) const;
  const float* scores(int block) const;

  int32_t position(int slot) const { return positions(slot / 64)[slot % 64]; }
  float score(int slot) const { return scores(slot / 64)[slot % 64]; }

  // Moves blocks into earlier runs; true if any moved.
  bool compact();
  size_t table_bytes() const { return blocks_.capacity() * sizeof(BlockRef); }

 private:
  BlockPool* pool_;
  TierShape shape_;
  std::vector<BlockRef> blocks_;
  int size_ = 0;
};

}  // namespace kvkeep
