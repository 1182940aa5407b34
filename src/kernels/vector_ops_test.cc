#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "kernels/test_parts.h"

namespace kvkeep {
namespace {

constexpr int kSizes[] = {0, 1, 2, 7, 8, 9, 15, 16, 31, 33, 64, 100, 257};
constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <class Check>
void for_each_table(const Check& check) {
  for (const KernelTable* table : runnable_kernels()) {
    SCOPED_TRACE(table->name);
    check(*table);
  }
}

TEST(VectorOps, ExpSumIsAccurate) {
  for_each_table([](const KernelTable& table) {
    double worst = 0;
    for (int n : {1, 3, 8, 13, 64}) {
      for (float start = -87.0f; start < 84.0f; start += 0.37f) {
        std::vector<float> x(static_cast<size_t>(n));
        for (int i = 0; i < n; ++i)
          x[static_cast<size_t>(i)] = start + 0.0057f * static_cast<float>(i);
        const auto in = x;
        const float sum = table.exp_sum(x.data(), n, 0.0f);
        double want_sum = 0;
        for (size_t i = 0; i < x.size(); ++i) {
          const double want = std::exp(static_cast<double>(in[i]));
          worst = std::max(worst, std::abs(x[i] - want) / want);
          want_sum += want;
        }
        ASSERT_NEAR(sum, want_sum, 1e-5 * want_sum);
      }
    }
    EXPECT_LE(worst, 2e-6);
    RecordProperty(fmt::format("worst_{}", table.name), fmt::format("{:.2e}", worst));
  });
}

TEST(VectorOps, ExpSumAtTheEnds) {
  for_each_table([](const KernelTable& table) {
    float x[] = {-kInfinity, -1000.0f, 0.0f, -95.0f, 5.0f, NAN, 200.0f, 0.0f, -kInfinity};
    EXPECT_EQ(table.exp_sum(x, 0, 1.0f), 0.0f);
    EXPECT_EQ(x[0], -kInfinity);
    table.exp_sum(x, 9, 0.0f);
    EXPECT_EQ(x[0], 0.0f);
    EXPECT_EQ(x[1], 0.0f);
    EXPECT_EQ(x[2], 1.0f);
    EXPECT_NEAR(x[3], std::exp(-95.0), 2e-45);  // subnormal
    EXPECT_TRUE(std::isnan(x[5]));
    EXPECT_EQ(x[6], kInfinity);
    EXPECT_EQ(x[8], 0.0f);
    float y[] = {3.0f, 1.0f};
    EXPECT_NEAR(table.exp_sum(y, 2, 3.0f), 1.0 + std::exp(-2.0), 1e-6);
  });
}

TEST(VectorOps, MaxDotScale) {
  for_each_table([](const KernelTable& table) {
    Rng rng(2);
    for (int n : kSizes) {
      const auto a = random_floats(rng, static_cast<size_t>(n));
      const auto b = random_floats(rng, static_cast<size_t>(n));
      double sum = 0, magnitude = 0;
      float highest = -kInfinity;
      for (size_t i = 0; i < a.size(); ++i) {
        sum += static_cast<double>(a[i]) * b[i];
        magnitude += std::abs(static_cast<double>(a[i]) * b[i]);
        highest = std::max(highest, a[i]);
      }
      EXPECT_EQ(table.max(a.data(), n), highest);
      EXPECT_NEAR(table.dot(a.data(), b.data(), n), sum, 1e-6 * magnitude);
      auto scaled = a;
      scaled.push_back(7.0f);
      table.scale(scaled.data(), n, 0.3f);
      for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(scaled[i], a[i] * 0.3f);
      EXPECT_EQ(scaled.back(), 7.0f);
      auto summed = scaled;
      table.add_scaled(a.data(), n, 2.0f, summed.data());
      for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(summed[i], scaled[i] + a[i] * 2.0f);
      EXPECT_EQ(summed.back(), 7.0f);
    }
    const float low[] = {-5.0f, -3.0f, -9.0f};
    EXPECT_EQ(table.max(low, 3), -3.0f);
  });
}

// Two blocks after one another give the softmax of both.
TEST(VectorOps, SoftmaxStepTakesInBlockAfterBlock) {
  for_each_table([](const KernelTable& table) {
    for (int heads = 1; heads <= kMaxKernelHeads; ++heads) {
      constexpr int kStride = kBlockTokens + 3;
      Rng rng(4);
      const int counts[] = {1 + (heads * 23) % 64, 1 + (heads * 41) % 64};
      float maxima[kMaxKernelHeads], sums[kMaxKernelHeads], factors[kMaxKernelHeads];
      double expected[kMaxKernelHeads] = {}, highest[kMaxKernelHeads];
      for (int h = 0; h < heads; ++h) maxima[h] = -kInfinity, sums[h] = 0, highest[h] = -kInfinity;
      for (const int n : counts) {
        auto x = random_floats(rng, static_cast<size_t>(heads * kStride));
        const auto before = x;
        table.softmax_step(x.data(), kStride, n, heads, maxima, sums, factors);
        for (int h = 0; h < heads; ++h) {
          const auto row = before.begin() + h * kStride;
          const double top = std::max<double>(highest[h], *std::max_element(row, row + n));
          EXPECT_NEAR(factors[h], expected[h] > 0 ? std::exp(highest[h] - top) : 1.0, 1e-6);
          expected[h] *= std::exp(highest[h] - top);
          highest[h] = top;
          EXPECT_EQ(maxima[h], static_cast<float>(top));
          for (int i = 0; i < kStride; ++i) {
            const double e = i < n ? std::exp(row[i] - top) : row[i];
            EXPECT_NEAR(x[static_cast<size_t>(h * kStride + i)], e, i < n ? 1e-6 : 0.0);
            if (i < n) expected[h] += e;
          }
          EXPECT_NEAR(sums[h], expected[h], 2e-6 * expected[h]);
        }
      }
    }
  });
}

TEST(VectorOps, ReadSumAddsEveryWord) {
  for_each_table([](const KernelTable& table) {
    for (const size_t bytes : {0, 64, 128, 704}) {
      std::vector<uint64_t> words(bytes / 8);
      uint64_t sum = 0;
      for (size_t i = 0; i < words.size(); ++i) sum += words[i] = (i + 1) << (i % 50);
      EXPECT_EQ(table.read_sum(reinterpret_cast<const std::byte*>(words.data()), bytes), sum);
    }
  });
}

TEST(VectorOps, HadamardIsItsOwnInverseAndTheSameOnEveryIsa) {
  Rng rng(3);
  for (const auto& [dim, size] : {std::pair{8, 1},
                                  {8, 2},
                                  {8, 8},
                                  {24, 8},
                                  {24, 4},
                                  {64, 64},
                                  {96, 32},
                                  {128, 128},
                                  {256, 16},
                                  {512, 512}}) {
    const int count = 3, stride = dim + 3;
    const auto in = random_floats(rng, static_cast<size_t>(count * stride));
    std::vector<float> first;
    for_each_table([&](const KernelTable& table) {
      auto x = in;
      table.hadamard(x.data(), count, stride, dim, size);
      if (first.empty()) first = x;
      EXPECT_EQ(x, first);
      table.hadamard(x.data(), count, stride, dim, size);
      for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i], in[i], 1e-5f);
    });
    for (int row = 0; row < count; ++row)  // against the definition: (-1)^popcount(i & j)
      for (int j = 0; j < dim; ++j) {
        double sum = 0;
        for (int i = 0; i < size; ++i) {
          const float sign = std::popcount(static_cast<unsigned>(i & (j % size))) % 2 ? -1 : 1;
          sum += sign * in[static_cast<size_t>(row * stride + j / size * size + i)];
        }
        EXPECT_NEAR(first[static_cast<size_t>(row * stride + j)], sum / std::sqrt(size), 1e-5);
      }
  }
}

// NaN stays NaN with its sign; its payload is the processor's business.
void expect_same_half(F16 got, F16 want) {
  if (std::isnan(f16_to_f32(want)))
    EXPECT_TRUE(std::isnan(f16_to_f32(got)) && (got & 0x8000) == (want & 0x8000));
  else
    EXPECT_EQ(got, want);
}

TEST(VectorOps, HalfToFloatEqualsTheBaseConversionOnAllValues) {
  std::vector<F16> in(65536);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<F16>(i);
  for_each_table([&](const KernelTable& table) {
    std::vector<float> out(in.size());
    table.f16_to_f32(in.data(), out.data(), static_cast<int64_t>(in.size()));
    for (size_t i = 0; i < in.size(); ++i) {
      const float want = f16_to_f32(in[i]);
      if (std::isnan(want))
        EXPECT_TRUE(std::isnan(out[i]) && std::signbit(out[i]) == std::signbit(want));
      else
        EXPECT_EQ(std::bit_cast<uint32_t>(out[i]), std::bit_cast<uint32_t>(want));
    }
  });
}

TEST(VectorOps, FloatToHalfEqualsTheBaseConversion) {
  std::vector<float> in = {0.0f,     -0.0f,      kInfinity, -kInfinity, NAN,
                           -NAN,     65504.0f,   65519.99f, 65520.0f,   0x1p-24f,
                           0x1p-25f, 0x1.8p-25f, 0x1p-149f, -0x1p-14f};
  Rng rng(4);
  for (int i = 0; i < 200000; ++i)
    in.push_back(std::bit_cast<float>(static_cast<uint32_t>(rng.next())));
  for (uint32_t h = 0; h < 0x7c00; ++h) {  // every half, its ties and their neighbours
    const uint32_t bits = std::bit_cast<uint32_t>(f16_to_f32(static_cast<F16>(h)));
    for (uint32_t step : {0x0u, 0xfffu, 0x1000u, 0x1001u})
      in.push_back(std::bit_cast<float>(bits + step));
  }
  for_each_table([&](const KernelTable& table) {
    std::vector<F16> out(in.size());
    table.f32_to_f16(in.data(), out.data(), static_cast<int64_t>(in.size()));
    for (size_t i = 0; i < in.size(); ++i) expect_same_half(out[i], f32_to_f16(in[i]));
  });
}

TEST(VectorOps, ConversionsOfRaggedLengthsStayInside) {
  for_each_table([](const KernelTable& table) {
    for (int n : kSizes) {
      std::vector<float> in(static_cast<size_t>(n), 1.5f);
      std::vector<F16> words(static_cast<size_t>(n) + 1, 0x1234);
      table.f32_to_f16(in.data(), words.data(), n);
      EXPECT_EQ(words.back(), 0x1234);
      std::vector<float> out(static_cast<size_t>(n) + 1, 9.0f);
      table.f16_to_f32(words.data(), out.data(), n);
      EXPECT_EQ(out.back(), 9.0f);
      for (size_t i = 0; i < in.size(); ++i) EXPECT_EQ(out[i], 1.5f);
    }
  });
}

}  // namespace
}  // namespace kvkeep
