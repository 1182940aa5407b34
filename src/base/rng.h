// A small random generator with the same stream on every platform (the standard distributions
// differ between libraries). xoshiro256** seeded by splitmix64 (Blackman and Vigna, 2018).
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace kvkeep {

// One step of splitmix64: also a good 64-bit hash of its argument.
inline uint64_t hash64(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

class Rng {
 public:
  explicit Rng(uint64_t seed) {
    for (auto& word : state_) word = hash64(seed++);
  }

  uint64_t next() {
    const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  // Uniform in [0, 1), 24 bits.
  float uniform() { return static_cast<float>(next() >> 40) * 0x1p-24f; }

  // Uniform in [0, n); n > 0. The bias is below n / 2^64.
  uint64_t below(uint64_t n) { return next() % n; }

  // Standard normal (Box-Muller).
  float normal() {
    const float radius = std::sqrt(-2.0f * std::log(1.0f - uniform()));
    return radius * std::cos(2.0f * std::numbers::pi_v<float> * uniform());
  }

 private:
  uint64_t state_[4];
};

}  // namespace kvkeep
