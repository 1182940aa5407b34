// Binary signatures of tokens, one bit a head, and how few tokens are chosen by them.
//
//   plane h, bit t = head h would keep token t             heads x tokens bits, head by head
//   distance[t]    = heads whose bit differs from the anchor's (Hamming)
//
// Planes make every step parallel over tokens, whatever the number of heads: 64 are compared with a
// threshold together, 256 counted and sorted.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace kvkeep {

class Signatures {
 public:
  Signatures(int heads, int tokens)
      : heads_(static_cast<size_t>(heads)),
        words_((static_cast<size_t>(tokens) + 63) / 64),
        bits_(heads_ * words_) {}

  size_t heads() const { return heads_; }
  size_t words() const { return words_; }  // of a plane
  uint64_t* plane(size_t head) { return bits_.data() + head * words_; }
  const uint64_t* plane(size_t head) const { return bits_.data() + head * words_; }

 private:
  size_t heads_, words_;
  std::vector<uint64_t> bits_;
};

// The bits of an anchor that does not depend on tokens: random, alternate (0, 1, 0, ...), zeros or
// ones. Random bits are the low bits of hash64(seed + i), the same on every platform.
std::vector<uint8_t> fixed_anchor(const std::string& name, size_t bits, uint64_t seed);

// The bit that most of the tokens marked in `among` [words] have; 0 where they are even.
std::vector<uint8_t> mean_anchor(const Signatures& signatures, std::span<const uint64_t> among);

// The value that k of the n signed words exceed (fewer where some are equal), from an even sample
// if there are many; one below all if k >= n.
inline constexpr size_t kThresholdSample = 256;
uint16_t threshold_above(std::span<const uint16_t> values, size_t k);

// `count` of the tokens marked in `among` [words], ascending: those at evenly spread ranks of the
// order (distance of their signature to the anchor [heads], token). even: ranks i (n - 1) /
// (count - 1), the middle one if count is 1; else the middles of `count` equal buckets. All if
// count >= n.
std::vector<size_t> spread_over(const Signatures& signatures, std::span<const uint8_t> anchor,
                                std::span<const uint64_t> among, size_t count, bool even);

}  // namespace kvkeep
