#include "codec/representatives/signature.h"

#include <algorithm>
#include <array>
#include <bit>

#include "base/rng.h"
#include "kernels/planes.h"

namespace kvkeep {
namespace {

// Place of the n-th set bit; there are more than n.
size_t select(uint64_t bits, size_t n) {
  while (n-- > 0) bits &= bits - 1;
  return static_cast<size_t>(std::countr_zero(bits));
}

}  // namespace

std::vector<uint8_t> fixed_anchor(const std::string& name, size_t bits, uint64_t seed) {
  std::vector<uint8_t> anchor(bits, name == "ones");
  for (size_t i = 0; i < bits; ++i) {
    if (name == "alternate") anchor[i] = i % 2;
    if (name == "random") anchor[i] = hash64(seed + i) & 1;
  }
  return anchor;
}

std::vector<uint8_t> mean_anchor(const Signatures& signatures, std::span<const uint64_t> among) {
  int all = 0;
  for (uint64_t word : among) all += std::popcount(word);
  std::vector<uint8_t> anchor(signatures.heads());
  for (size_t h = 0; h < anchor.size(); ++h) {
    int set = 0;
    for (size_t w = 0; w < among.size(); ++w)
      set += std::popcount(signatures.plane(h)[w] & among[w]);
    anchor[h] = 2 * set > all;
  }
  return anchor;
}

uint16_t threshold_above(std::span<const uint16_t> values, size_t k) {
  const size_t n = values.size(), sample = std::min(n, kThresholdSample);
  if (k >= n) return 0x8000;  // the least: only what is no number is not above it
  std::array<int16_t, kThresholdSample> picked;
  for (size_t i = 0; i < sample; ++i)
    picked[i] = static_cast<int16_t>(values[sample == n ? i : i * (n - 1) / (sample - 1)]);
  const size_t above = k * sample / n;
  std::nth_element(picked.begin(), picked.begin() + static_cast<ptrdiff_t>(above),
                   picked.begin() + static_cast<ptrdiff_t>(sample), std::greater<>());
  return static_cast<uint16_t>(picked[above]);
}

// A counting sort without the sorting: only the words where a wanted rank falls are looked into.
std::vector<size_t> spread_over(const Signatures& signatures, std::span<const uint8_t> anchor,
                                std::span<const uint64_t> among, size_t count, bool even) {
  size_t n = 0;
  for (uint64_t word : among) n += static_cast<size_t>(std::popcount(word));
  count = std::min(count, n);
  if (count == 0) return {};
  const auto rank_of = [&](size_t i) {
    return even && count > 1 ? i * (n - 1) / (count - 1) : (2 * i + 1) * n / (2 * count);
  };
  const size_t words = signatures.words(), heads = signatures.heads();
  const auto digits = static_cast<size_t>(std::bit_width(heads));
  std::vector<uint64_t> distances(digits * words), match(words);
  std::vector<uint8_t> here(words);
  const auto& table = plane_kernels();
  if (heads > 0)
    table.hamming_digits(signatures.plane(0), static_cast<int>(heads), static_cast<int>(words),
                         anchor.data(), distances.data());
  std::vector<uint64_t> marks(words);
  size_t rank = 0, target = rank_of(0), found = 0;
  for (size_t distance = 0; distance <= heads && found < count; ++distance) {
    table.hamming_match(distances.data(), static_cast<int>(digits), static_cast<int>(words),
                        static_cast<int>(distance), among.data(), match.data(), here.data());
    for (size_t w = 0; w < words && found < count; rank += here[w++])
      for (; target < rank + here[w] && found < count; target = rank_of(++found))
        marks[w] |= uint64_t{1} << select(match[w], target - rank);
  }
  std::vector<size_t> chosen;
  chosen.reserve(count);
  for (size_t w = 0; w < words; ++w)
    for (uint64_t bits = marks[w]; bits; bits &= bits - 1)
      chosen.push_back(64 * w + static_cast<size_t>(std::countr_zero(bits)));
  return chosen;
}

}  // namespace kvkeep
