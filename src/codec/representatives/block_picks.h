// The choice of blocks as OpenVINO GenAI 2025.3 makes it, whose KVCrush differs from the paper's:
// a bit per token and a signature per block.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kvkeep {

// scores [blocks * block]: of all tokens that compete, kept and evicted; evicted: [blocks], 0 or 1;
// anchor: [block]. A token's bit is set if its score is among the best floor(n / 2), ties to the
// first. Of the evicted blocks in the order (distance of their bits to the anchor, place), those at
// places 0, step, 2 step, ... are picked: `count` of them, step = floor(evicted / count). All
// evicted ones if count is larger. Ascending.
std::vector<size_t> block_picks(std::span<const float> scores, size_t block,
                                std::span<const uint8_t> evicted, std::span<const uint8_t> anchor,
                                size_t count);

// Bits [scores] of the best half, as block_picks takes them.
std::vector<uint8_t> best_half(std::span<const float> scores);

}  // namespace kvkeep
