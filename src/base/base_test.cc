#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/file.h"
#include "base/half.h"
#include "base/rng.h"
#include "base/thread_pool.h"

namespace kvkeep {
namespace {

TEST(Half, EveryFiniteValueSurvivesTheRoundTrip) {
  for (uint32_t h = 0; h < 0x10000; ++h) {
    const float x = f16_to_f32(static_cast<F16>(h));
    if (std::isnan(x)) continue;
    EXPECT_EQ(f32_to_f16(x), h);
    const float b = bf16_to_f32(static_cast<BF16>(h));
    if (!std::isnan(b)) {
      EXPECT_EQ(f32_to_bf16(b), h);
    }
  }
}

// What grows by a tenth of the f16 step it stands on still grows by the right amount.
TEST(Half, RoundedAtRandomGrowsOnAverage) {
  Rng rng(6);
  for (float start : {1.0f, 100.0f, -3.0f, 1e-6f, 0.0f}) {
    const float step = std::max(std::fabs(start) * 0x1p-10f, 0x1p-24f) * 0.1f;
    double sum = 0;
    for (int run = 0; run < 200; ++run) {
      float score = start;
      for (int i = 0; i < 200; ++i)
        score = f16_to_f32(f32_to_f16_at_random(score + step, static_cast<uint32_t>(rng.next())));
      sum += score - start;
    }
    EXPECT_NEAR(sum / 200 / (200 * step), 1.0, 0.1) << start;
  }
  for (float exact : {0.0f, 0.5f, -3.0f, 1024.0f, 0x1p-24f})
    EXPECT_EQ(f16_to_f32(f32_to_f16_at_random(exact, ~0u)), exact);
  EXPECT_EQ(f16_to_f32(f32_to_f16_at_random(1e30f, 1)), 65504.0f);
  EXPECT_EQ(f16_to_f32(f32_to_f16_at_random(-1e30f, 1)), -65504.0f);
  EXPECT_EQ(f16_to_f32(f32_to_f16_at_random(65503.9f, ~0u)), 65504.0f);
}

TEST(Half, NoiseOfNeighboursSpreadsEvenly) {
  int up = 0;
  for (uint32_t i = 0; i < 64; ++i)  // a quarter of a step above 1
    up += f16_to_f32(f32_to_f16_at_random(1.0f + 0x1p-12f, 7 + i * kNoiseStep)) > 1.0f;
  EXPECT_EQ(up, 16);
}

TEST(Half, RoundsToNearestEvenAndOverflowsToInfinity) {
  EXPECT_EQ(f32_to_f16(1.0f + 0x1p-11f), f32_to_f16(1.0f));  // tie goes to even
  EXPECT_EQ(f32_to_f16(1.0f + 3 * 0x1p-11f), f32_to_f16(1.0f + 0x1p-9f));
  EXPECT_EQ(f16_to_f32(f32_to_f16(65519.0f)), 65504.0f);
  EXPECT_TRUE(std::isinf(f16_to_f32(f32_to_f16(65520.0f))));
  EXPECT_EQ(f16_to_f32(f32_to_f16(0x1p-24f)), 0x1p-24f);
  EXPECT_EQ(f16_to_f32(f32_to_f16(0x1p-25f)), 0.0f);  // tie to even zero
  EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(NAN))));
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(NAN))));
}

TEST(Rng, SameSeedSameStreamAndUnitNormal) {
  Rng a(7), b(7);
  double sum = 0, squares = 0;
  for (int i = 0; i < 100000; ++i) {
    const float x = a.normal();
    EXPECT_EQ(x, b.normal());
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / 1e5, 0.0, 0.02);
  EXPECT_NEAR(squares / 1e5, 1.0, 0.02);
}

TEST(ThreadPool, EveryItemRunsOnceOnAnyNumberOfThreads) {
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    for (int64_t items : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<size_t>(items));
      for (int repeat = 0; repeat < 20; ++repeat)
        pool.run(items, [&](int64_t item, int worker) {
          ASSERT_LT(worker, pool.size());
          ++runs[static_cast<size_t>(item)];
        });
      for (const auto& count : runs) EXPECT_EQ(count.load(), 20);
    }
  }
}

TEST(ThreadPool, AnExceptionArrivesAfterAllItemsAreDone) {
  for (int threads : {1, 3}) {
    ThreadPool pool(threads);
    std::atomic<int> runs = 0;
    const auto work = [&](int64_t item, int) {
      ++runs;
      if (item % 10 == 3) throw std::bad_alloc();
    };
    EXPECT_THROW(pool.run(50, work), std::bad_alloc);
    EXPECT_GE(runs.load(), threads > 1 ? 50 : 4);
    pool.run(5, [](int64_t, int) {});  // and the pool lives on
  }
}

TEST(AlignedBuffer, IsAlignedZeroedAndCountsItsBytes) {
  AlignedBuffer<float> buffer(17);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 64, 0u);
  EXPECT_EQ(buffer.bytes(), 128u);
  for (float x : buffer.span()) EXPECT_EQ(x, 0.0f);
}

TEST(File, ReadsWholeFilesAndNamesThePathInErrors) {
  const auto folder = std::filesystem::temp_directory_path() / "kvkeep_file_test";
  std::filesystem::create_directories(folder);
  const std::string path = (folder / "a.txt").string();
  std::ofstream(path) << "hello";
  EXPECT_EQ(read_file(path).value(), "hello");
  EXPECT_EQ(MappedFile::open(path)->bytes().size(), 5u);
  EXPECT_NE(read_file(path, 4).error().message.find(path), std::string::npos);
  EXPECT_EQ(MappedFile::open("/nonexistent/x").error().code, ErrorCode::bad_input);
  EXPECT_FALSE(read_file(folder.string()));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace kvkeep
