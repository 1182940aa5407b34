// score_block, accumulate_block and the row readers of every ISA against double sums over get_row.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/test_parts.h"

namespace kvkeep {
namespace {

constexpr float kUntouched = 12345.0f;

struct Ragged {
  int count, heads;
};
// Every count and every number of heads appears at least once over all parts.
Ragged ragged(int i) { return {1 + (i * 23) % 64, 1 + (i * 5) % 16}; }

// The error of a float32 sum of `terms` products whose magnitudes add up to `magnitude`.
double tolerance(double magnitude) { return 1e-6 * magnitude + 1e-30; }

void check_scores(const KernelTable& table, const TestPart& part, Ragged size, uint64_t seed) {
  Rng rng(seed);
  const int dim = part.shape.head_dim, stride = part.shape.padded_dim + 8;
  std::vector<float> q(static_cast<size_t>(size.heads * stride));
  for (int h = 0; h < size.heads; ++h)
    for (int d = 0; d < dim; ++d) q[static_cast<size_t>(h * stride + d)] = rng.normal();
  std::vector<float> logits(static_cast<size_t>(size.heads * kBlockTokens), kUntouched);
  table.score_block[static_cast<int>(part.shape.id)](part.shape, part.bytes.data(), nullptr,
                                                     size.count, q.data(), stride, size.heads,
                                                     logits.data());
  for (int h = 0; h < size.heads; ++h)
    for (int t = 0; t < kBlockTokens; ++t) {
      const float got = logits[static_cast<size_t>(h * kBlockTokens + t)];
      double sum = 0, magnitude = 0;
      for (int d = 0; d < dim; ++d) {
        const double x = q[static_cast<size_t>(h * stride + d)];
        sum += x * part.at(t, d);
        magnitude += std::abs(x) * (std::abs(part.at(t, d)) + 1.5);  // 1.5: scale * code, minimum
      }
      if (t < size.count)
        ASSERT_NEAR(got, sum, tolerance(magnitude)) << table.name << " h " << h << " t " << t;
      else
        ASSERT_EQ(got, kUntouched) << table.name << " h " << h << " t " << t;
    }
}

void check_accumulate(const KernelTable& table, const TestPart& part, Ragged size, uint64_t seed) {
  Rng rng(seed);
  const int dim = part.shape.head_dim, stride = dim + 3;
  std::vector<float> weights(static_cast<size_t>(size.heads * kBlockTokens), NAN);
  for (int h = 0; h < size.heads; ++h)
    for (int t = 0; t < size.count; ++t)
      weights[static_cast<size_t>(h * kBlockTokens + t)] = rng.uniform();
  const auto before = random_floats(rng, static_cast<size_t>(size.heads * stride));
  auto out = before;
  table.accumulate_block[static_cast<int>(part.shape.id)](part.shape, part.bytes.data(), nullptr,
                                                          size.count, weights.data(), size.heads,
                                                          out.data(), stride);
  for (int h = 0; h < size.heads; ++h)
    for (int d = 0; d < stride; ++d) {
      const auto at = static_cast<size_t>(h * stride + d);
      if (d >= dim) {
        ASSERT_EQ(out[at], before[at]) << "written past head_dim";
        continue;
      }
      double sum = before[at], magnitude = std::abs(sum);
      for (int t = 0; t < size.count; ++t) {
        const double w = weights[static_cast<size_t>(h * kBlockTokens + t)];
        sum += w * part.at(t, d);
        magnitude += w * (std::abs(part.at(t, d)) + 1.5);
      }
      ASSERT_NEAR(out[at], sum, tolerance(magnitude)) << table.name << " h " << h << " d " << d;
    }
}

TEST(Attend, EveryTableEqualsADoubleLoopOverTheRows) {
  int i = 0;
  for_each_part([&](const PartShape& shape, Side side) {
    const TestPart part = random_part(shape, side, 3);
    for (int repeat = 0; repeat < 2; ++repeat, ++i)
      for (const KernelTable* table : runnable_kernels())
        if (side == Side::key)
          check_scores(*table, part, ragged(i), 5);
        else
          check_accumulate(*table, part, ragged(i), 7);
  });
}

TEST(Attend, EveryCountAndNumberOfHeads) {
  for (int id = 0; id < kLayouts; ++id) {
    const Layout layout{static_cast<LayoutId>(id), id == 0 ? 0 : kGroupHalf};
    const PartShape shape = part_shape(layout, 72);
    const TestPart keys = random_part(shape, Side::key, 1);
    const TestPart values = random_part(shape, Side::value, 2);
    for (const KernelTable* table : runnable_kernels()) {
      for (int count = 0; count <= kBlockTokens; ++count) {
        check_scores(*table, keys, {count, 1 + count % 5}, 5);
        if (by_channel(layout.id)) continue;
        check_accumulate(*table, values, {count, 1 + count % 5}, 7);
      }
      for (int heads = 1; heads <= 16; ++heads) {
        check_scores(*table, keys, {19, heads}, 5);
        if (by_channel(layout.id)) continue;
        check_accumulate(*table, values, {19, heads}, 7);
      }
    }
  }
}

TEST(Attend, EveryHeadDimUpTo256) {
  int i = 0;
  for (int id = 0; id < kLayouts; ++id)
    for (int head_dim = 8; head_dim <= 256; head_dim += 8, ++i) {
      const Layout layout{static_cast<LayoutId>(id), id == 0 ? 0 : kGroupHalf};
      const PartShape shape = part_shape(layout, head_dim);
      SCOPED_TRACE(fmt::format("{} head_dim {}", layout_name(layout), head_dim));
      const TestPart keys = random_part(shape, Side::key, 1);
      for (const KernelTable* table : runnable_kernels()) check_scores(*table, keys, ragged(i), 3);
      if (by_channel(layout.id)) continue;
      const TestPart values = random_part(shape, Side::value, 2);
      for (const KernelTable* table : runnable_kernels())
        check_accumulate(*table, values, ragged(i), 3);
    }
}

TEST(Attend, RowsAreReadExactly) {
  int i = 0;
  for_each_part([&](const PartShape& shape, Side side) {
    const TestPart part = random_part(shape, side, 9);
    const int first = (i * 13) % 64, count = 1 + (i * 7) % (64 - first);
    const int stride = shape.head_dim + 5;
    ++i;
    for (const KernelTable* table : runnable_kernels()) {
      const auto* readers = side == Side::key ? table->read_keys : table->read_values;
      std::vector<float> rows(static_cast<size_t>(count * stride), kUntouched);
      readers[static_cast<int>(shape.id)](shape, part.bytes.data(), first, count, rows.data(),
                                          stride);
      for (int t = 0; t < count; ++t)
        for (int d = 0; d < stride; ++d) {
          const float got = rows[static_cast<size_t>(t * stride + d)];
          const float want =
              d < shape.head_dim ? static_cast<float>(part.at(first + t, d)) : kUntouched;
          ASSERT_EQ(got, want) << table->name << " slot " << first + t << " d " << d;
        }
    }
  });
}

}  // namespace
}  // namespace kvkeep
