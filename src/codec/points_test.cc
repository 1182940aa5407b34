#include "codec/points.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/half.h"
#include "base/rng.h"
#include "codec/grid.h"
#include "codec/rtn.h"
#include "kernels/isa.h"

namespace kvkeep {
namespace {

constexpr LayoutId kCodebooks[] = {LayoutId::c4, LayoutId::c3, LayoutId::c2};

std::vector<float> normals(int n, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& value : x) value = rng.normal();
  return x;
}

// Whole points are close to Lloyd and Max's: order, symmetry, and at most 1 % more error.
TEST(Points, CodebooksAreTheGridsOnWholeNumbers) {
  for (const LayoutId id : kCodebooks) {
    const CodebookPoints book = codebook_points(id);
    const int n = 1 << layout_bits(id);
    const Grid& grid = **find_grid(1, n);
    for (int i = 0; i < n; ++i) {
      EXPECT_EQ(book.points[i] + book.points[n - 1 - i], book.top);
      EXPECT_TRUE(i == 0 || book.points[i - 1] < book.points[i]);
      EXPECT_NEAR(code_value(id, static_cast<unsigned>(i)) / book.per_sigma,
                  grid.points[static_cast<size_t>(i)], 0.1);
    }
    const PartShape shape = part_shape({id, kGroupToken}, 512);
    double error = 0, power = 0;
    for (uint64_t seed = 0; seed < 200; ++seed) {
      const std::vector<float> row = normals(512, seed);
      std::vector<float> back(row.size());
      RowCodes codes{};
      points_quantize(shape, row.data(), &codes);
      rtn_dequantize(shape, codes, back.data());
      for (size_t i = 0; i < row.size(); ++i) {
        error += (row[i] - back[i]) * (row[i] - back[i]);
        power += row[i] * row[i];
      }
    }
    EXPECT_NEAR(error / power / grid.mse, 1.005, 0.02) << layout_bits(id);
  }
}

// rms 4: 4 / 4.6252 = 0.8648 is a point; boundaries at 0 and half-way between 5 and 0, 9 and 14.
TEST(Points, TwoBitCodesByHand) {
  const PartShape shape = part_shape({LayoutId::c2, kGroupToken}, 8);
  const float row[] = {4, -4, 4, -4, 4, -4, 4, -4};
  RowCodes codes{};
  points_quantize(shape, row, &codes);
  EXPECT_NEAR(f16_to_f32(codes.scales[0]), 0.8648, 0.001);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(codes.codes[i], i % 2 ? 0 : 3);  // +-4 is +-4.625 points
  const float mixed[] = {3.8f, -3.8f, 3.9f, -3.9f, 0.1f, -0.1f, 5.3f, 5.3f};
  points_quantize(shape, mixed, &codes);  // rms 3.80: 4.5 points are 3.70
  const int expected[] = {3, 0, 3, 0, 2, 1, 3, 3};
  for (int i = 0; i < 8; ++i) EXPECT_EQ(codes.codes[i], expected[i]) << i;
}

TEST(Points, TileKernelsGiveTheSameBitsRowByRow) {
  for (const LayoutId id : kCodebooks)
    for (const int group : {32, kGroupHalf, kGroupToken})
      for (const int head_dim : {8, 24, 40, 64, 80, 128, 512}) {
        const PartShape shape = part_shape({id, group}, head_dim);
        std::vector<float> rows = normals(kTileTokens * head_dim, 5);
        for (size_t i = 0; i < rows.size(); ++i) {
          const auto row = i / static_cast<size_t>(head_dim);
          const float factors[] = {1, 100, 1e-3f, 0, 1e-12f, 1e25f, 3e-6f, -0.0f};
          rows[i] *= factors[row % 8];
        }
        for (const KernelTable* table : runnable_kernels())
          for (const auto& [first, count] : {std::pair{0, 16}, {5, 1}, {3, 13}}) {
            TileCodes tile;
            table->quantize_tile[static_cast<size_t>(id)](shape, rows.data(), head_dim, first,
                                                          count, &tile);
            for (int i = 0; i < count; ++i) {
              RowCodes expected{};
              points_quantize(shape, rows.data() + i * head_dim, &expected);
              for (int c = 0; c < shape.padded_dim; ++c)
                ASSERT_EQ(tile.codes[(first + i) * shape.padded_dim + c],
                          c < head_dim ? expected.codes[c] : 0)
                    << table->name << " bits " << layout_bits(id) << " d " << head_dim << " row "
                    << i << " channel " << c;
              for (int g = 0; g < shape.groups; ++g)
                ASSERT_EQ(tile.scales[g * kTileTokens + first + i], expected.scales[g])
                    << table->name << " row " << i;
            }
          }
      }
}

TEST(Points, ZerosAreExactAndHugeRowsStayFinite) {
  for (const LayoutId id : kCodebooks) {
    const PartShape shape = part_shape({id, kGroupToken}, 64);
    std::vector<float> back(64);
    RowCodes codes{};
    points_quantize(shape, std::vector<float>(64, 0.0f).data(), &codes);
    rtn_dequantize(shape, codes, back.data());
    for (const float x : back) EXPECT_EQ(x, 0.0f);
    points_quantize(shape, std::vector<float>(64, 1e30f).data(), &codes);
    rtn_dequantize(shape, codes, back.data());
    for (const float x : back) EXPECT_TRUE(std::isfinite(x));
  }
}

// With the gain, the dot product with any fixed vector keeps its mean.
TEST(Points, GainUndoesTheShrinkage) {
  for (const LayoutId id : kCodebooks) {
    const PartShape shape = part_shape({id, kGroupToken}, 128);
    TileCodes tile;
    double plain = 0, gained = 0, exact = 0;
    for (uint64_t seed = 0; seed < 20; ++seed) {
      const std::vector<float> rows = normals(kTileTokens * 128, seed);
      kernels().quantize_tile[static_cast<size_t>(id)](shape, rows.data(), 128, 0, kTileTokens,
                                                       &tile);
      const auto product = [&] {
        double sum = 0;
        for (int t = 0; t < kTileTokens; ++t)
          for (int d = 0; d < 128; ++d)
            sum += rows[static_cast<size_t>(128 * t + d)] * f16_to_f32(tile.scales[t]) *
                   code_value(id, tile.codes[128 * t + d]);
        return sum;
      };
      plain += product();
      apply_gain(shape, unbiased_gain(id), 0, kTileTokens, &tile);
      gained += product();
      for (const float x : rows) exact += x * x;
    }
    EXPECT_NEAR(gained / exact, 1, 0.005);
    EXPECT_NEAR(plain / exact, 1 / unbiased_gain(id), 0.005);
  }
}

}  // namespace
}  // namespace kvkeep
