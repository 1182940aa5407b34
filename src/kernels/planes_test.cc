#include "kernels/planes.h"

#include <gtest/gtest.h>

#include <bit>
#include <vector>

#include "kernels/isa.h"

namespace kvkeep {
namespace {

template <class Check>
void for_each_table(const Check& check) {
  check(scalar::kPlanes);
  if (runnable_kernels().size() > 1) check(plane_kernels());
}

TEST(Planes, BitsAboveCompareAsSignedWords) {
  for_each_table([](const PlaneKernels& table) {
    for (int n : {0, 1, 7, 31, 33, 64, 100, 257}) {
      std::vector<uint16_t> x(static_cast<size_t>(n));
      for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint16_t>(i * 40503u);
      for (int limit : {0, 1, 0x3c00, 0x7fff, 0x8000, 0xffff}) {
        const auto threshold = static_cast<uint16_t>(limit);
        std::vector<uint64_t> bits(static_cast<size_t>(n) / 64 + 2, ~uint64_t{0});
        table.bits_above(x.data(), n, threshold, bits.data());
        const auto words = static_cast<size_t>(n + 63) / 64;
        for (size_t i = 0; i < 64 * words; ++i) {
          const bool want =
              i < x.size() && static_cast<int16_t>(x[i]) > static_cast<int16_t>(threshold);
          ASSERT_EQ(bits[i / 64] >> i % 64 & 1, want) << n << " words, bit " << i;
        }
        EXPECT_EQ(bits[words], ~uint64_t{0});
      }
    }
  });
}

TEST(Planes, HammingDistancesOfPlanes) {
  for_each_table([](const PlaneKernels& table) {
    uint64_t random = 1;
    for (int heads : {1, 2, 3, 31, 32, 70, 260})
      for (int words : {1, 5, 8, 19}) {
        const auto w = static_cast<size_t>(words), h = static_cast<size_t>(heads);
        std::vector<uint64_t> planes(h * w), digits(9 * w), among(w), match(w);
        std::vector<uint8_t> anchor(h), bits(w);
        for (auto& word : planes)
          word = random = random * 6364136223846793005u + 1442695040888963407u;
        for (auto& word : among)
          word = random = random * 6364136223846793005u + 1442695040888963407u;
        for (size_t i = 0; i < h; ++i) anchor[i] = i % 3 == 0;
        table.hamming_digits(planes.data(), heads, words, anchor.data(), digits.data());
        const auto count = static_cast<int>(std::bit_width(h));
        for (int distance = 0; distance <= heads; distance += 1 + heads / 9) {
          table.hamming_match(digits.data(), count, words, distance, among.data(), match.data(),
                              bits.data());
          for (size_t t = 0; t < 64 * w; ++t) {
            int want = 0;
            for (size_t i = 0; i < h; ++i)
              want += (planes[i * w + t / 64] >> t % 64 & 1) != anchor[i];
            const bool marked = among[t / 64] >> t % 64 & 1;
            ASSERT_EQ(match[t / 64] >> t % 64 & 1, marked && want == distance);
          }
          for (size_t i = 0; i < w; ++i) ASSERT_EQ(bits[i], std::popcount(match[i]));
        }
      }
  });
}

}  // namespace
}  // namespace kvkeep
