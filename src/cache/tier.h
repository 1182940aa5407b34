// The tokens of one (layer, kv_head) that share a layout: a dense list of blocks of 64 slots.
//
// Keys are stored after RoPE, so order inside a tier does not matter to attention: a row that
// leaves is replaced by the tier's last one and no hole remains. The cache moves opaque bytes; what
// they mean is the codec's business. A block holds everything about its 64 slots, so moving a block
// moves them:
//
//   block = [K part][V part][64 positions, 0, 2 or 4 bytes each][64 scores, f16, if ranked]
//           [64 scores of each q_head, f16, if the plan asks for them]
//           [64 logarithms of masses, f16, if rows are merged: tokens a slot stands for]
//
// Blocks are added one by one, and every head of a cache grows at the same time, so neighbours in a
// tier would lie far apart. `settle` moves a full group of them, when there is one block more, into
// an extent: one place of at least 128 KiB, which memory reads almost as fast as one long row. An
// extent that is not full any more becomes single blocks again. Heads may append and truncate in
// parallel; settling is for one thread, so that memory does not depend on their number.
//
//   blocks = [extent: per_extent blocks][extent] ... [single][single]
//
// Positions cost real bits at small heads, so a tier stores none where its slots stand in order or
// where nobody asks. Tiers of forked sequences share blocks until one of them writes (Tier::fork).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cache/block_pool.h"

namespace kvkeep {

inline constexpr int kTierBlockSlots = 64;

// How a tier knows where its rows stand in the text.
enum class Positions : uint8_t {
  in_order,  // slot i holds position first + i: nothing is stored
  bits16,    // positions below 65,536
  bits32,
  none  // nobody reads them
};

struct TierShape {
  size_t k_bytes = 0, v_bytes = 0;  // of a block's K and V part, multiples of 64
  bool scored = false;
  Positions positions = Positions::bits32;
  int32_t first = 0;    // position of slot 0 where they stand in order
  int head_scores = 0;  // of a scored slot, beside its score: one a q_head
  bool masses = false;  // slots may stand for several tokens

  size_t position_bytes() const {  // of a slot
    return positions == Positions::bits32 ? 4 : positions == Positions::bits16 ? 2 : 0;
  }
  // Lanes of f16 a slot has: scores, then the mass.
  int mass_lane() const { return scored ? 1 + head_scores : 0; }
  int lanes() const { return mass_lane() + masses; }
  size_t score_bytes() const { return sizeof(uint16_t) * static_cast<size_t>(lanes()); }
  size_t position_offset() const { return k_bytes + v_bytes; }
  size_t score_offset() const { return position_offset() + kTierBlockSlots * position_bytes(); }
  size_t block_bytes() const { return score_offset() + kTierBlockSlots * score_bytes(); }
};

// Blocks of an extent: 128 KiB or more, as many as fill a huge page best. 1: blocks are that large.
int blocks_per_extent(size_t block_bytes);

class Tier {
 public:
  // extents hands out groups of blocks; without it all blocks stay single.
  Tier(BlockPool* pool, BlockPool* extents, const TierShape& shape);
  ~Tier();
  Tier(Tier&& other) noexcept;
  Tier& operator=(Tier&&) = delete;
  // The same rows in the same blocks; whoever writes to a shared block first gets a copy of it.
  Tier fork() const;

  int size() const { return size_; }                                              // slots in use
  int blocks() const { return (size_ + kTierBlockSlots - 1) / kTierBlockSlots; }  // of these
  int allocated_blocks() const { return static_cast<int>(blocks_.size()); }
  const TierShape& shape() const { return shape_; }

  // A new last slot; its parts are the caller's to write. Where positions are in order, `position`
  // must be the next one.
  int append(int32_t position, float score);
  void truncate(int size);  // drops the slots from `size` on; empty blocks and extents are freed
  void settle();            // makes extents of full groups, and blocks of broken extents

  // Writable parts; a block shared with a fork is copied first.
  std::byte* k_part(int block) { return own(block); }
  std::byte* v_part(int block) { return own(block) + shape_.k_bytes; }
  const std::byte* k_part(int block) const { return blocks_[static_cast<size_t>(block)].data; }
  const std::byte* v_part(int block) const { return k_part(block) + shape_.k_bytes; }

  bool knows_positions() const { return shape_.positions != Positions::none; }
  int32_t position(int slot) const;  // only if known
  // Of a block's first `count` slots.
  void positions(int block, int count, int32_t* out) const;
  // Scores are held as f16 (range 65504, nearest), only if the shape has them. Lane 0 is the score,
  // lane 1 + i that of the i-th q_head; the mass lane starts at log(1) = 0.
  float score(int slot, int lane = 0) const;
  void set_score(int slot, float score, int lane = 0);
  // Blocks first .. last-1 become this tier's own; those shared with a fork are copied.
  void make_own(int first, int last);
  // One lane of a block as it is stored, [64]. Writable, but only where make_own() came first: it
  // asks once for a range what parts ask block by block.
  uint16_t* scores(int block, int lane = 0) {
    std::byte* data = blocks_[static_cast<size_t>(block)].data;
    return reinterpret_cast<uint16_t*>(data + shape_.score_offset()) + lane * kTierBlockSlots;
  }
  const std::byte* score_lane(int block, int lane) const {
    return k_part(block) + shape_.score_offset() + lane * kTierBlockSlots * 2;
  }
  // Position and score of `from` go to `to`; the parts are the caller's to move.
  void move_tags(int to, int from);

  // Moves blocks and extents into earlier runs; true if any moved.
  bool compact();
  int extents() const { return extents_; }
  int per_extent() const { return per_extent_; }  // blocks; 1 where there are no extents
  int single_blocks() const { return allocated_blocks() - extents_ * per_extent_; }
  size_t table_bytes() const { return blocks_.capacity() * sizeof(BlockRef); }
  int shared_blocks() const;  // also used by forks

 private:
  std::byte* own(int block);
  void set_position(int slot, int32_t position);
  BlockRef& extent(int index) { return blocks_[static_cast<size_t>(index * per_extent_)]; }
  void put_extent(int index, BlockRef place);
  void gather();
  void break_last_extent();

  BlockPool *pool_, *extents_pool_;
  TierShape shape_;
  int per_extent_;                // blocks
  std::vector<BlockRef> blocks_;  // those of an extent stand on its run, the first is its place
  int extents_ = 0, size_ = 0;
};

}  // namespace kvkeep
