#include "codec/rtn.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/half.h"
#include "base/rng.h"
#include "kernels/isa.h"

namespace kvkeep {
namespace {

struct Case {
  const char* layout;
  int head_dim;
};

std::vector<float> gaussian_row(Rng* rng, int n) {
  std::vector<float> row(static_cast<size_t>(n));
  for (float& x : row) x = rng->normal();
  return row;
}

std::vector<float> round_trip(const PartShape& shape, const std::vector<float>& row) {
  RowCodes codes;
  rtn_quantize(shape, row.data(), &codes);
  std::vector<float> out(row.size());
  rtn_dequantize(shape, codes, out.data());
  return out;
}

// Half a step plus the f16 rounding of scale and minimum; a step is (max - min) / levels.
TEST(Rtn, ErrorStaysWithinTheDeclaredBound) {
  Rng rng(1);
  for (const Case& c : {Case{"u2", 64},
                        {"u2g64", 128},
                        {"u5", 72},
                        {"u3", 80},
                        {"u4g32", 40},
                        {"u8gt", 24},
                        {"u4gt", 8},
                        {"s8g32", 64},
                        {"s4g32", 96},
                        {"s5gt", 72},
                        {"s3gt", 64},
                        {"u3g128", 256}}) {
    const PartShape shape = part_shape(*parse_layout(c.layout), c.head_dim);
    for (int repeat = 0; repeat < 50; ++repeat) {
      const auto row = gaussian_row(&rng, c.head_dim);
      const auto out = round_trip(shape, row);
      for (int g = 0; g < shape.groups; ++g) {
        const int first = g * shape.group, last = std::min(first + shape.group, c.head_dim);
        float low = row[static_cast<size_t>(first)], high = low, top = 0;
        for (int i = first; i < last; ++i) {
          low = std::min(low, row[static_cast<size_t>(i)]);
          high = std::max(high, row[static_cast<size_t>(i)]);
          top = std::max(top, std::fabs(row[static_cast<size_t>(i)]));
        }
        const bool uniform = layout_kind(shape.id) == LayoutKind::uniform;
        const int bits = layout_bits(shape.id);
        // s5, s4 and s3 meet their extreme value, the other end may miss by a whole step.
        const float step = uniform     ? (high - low) / static_cast<float>((1 << bits) - 1)
                           : bits == 8 ? top / 127.0f
                                       : 2.0f * top / static_cast<float>(1 << (bits - 1));
        for (int i = first; i < last; ++i)
          EXPECT_LE(std::fabs(out[static_cast<size_t>(i)] - row[static_cast<size_t>(i)]),
                    0.5f * step + 0.004f * top)
              << c.layout << " d=" << c.head_dim << " i=" << i;
      }
    }
  }
}

// Relative mean squared error on Gaussian rows, pinned: a change of the quantizer moves these.
TEST(Rtn, GaussianDistortionIsPinned) {
  const auto distortion = [](const char* layout) {
    Rng rng(2);
    const PartShape shape = part_shape(*parse_layout(layout), 128);
    double error = 0, power = 0;
    for (int repeat = 0; repeat < 2000; ++repeat) {
      const auto row = gaussian_row(&rng, 128);
      const auto out = round_trip(shape, row);
      for (size_t i = 0; i < row.size(); ++i) {
        error += std::pow(out[i] - row[i], 2);
        power += std::pow(row[i], 2);
      }
    }
    return error / power;
  };
  EXPECT_NEAR(distortion("u2g64"), 0.200, 0.02);
  EXPECT_NEAR(distortion("u3g64"), 0.0385, 0.004);
  EXPECT_NEAR(distortion("u4g64"), 0.0083, 0.0008);
  EXPECT_NEAR(distortion("u5g64"), 0.00194, 0.0002);
  EXPECT_NEAR(distortion("u8g64"), 2.9e-5, 0.4e-5);
  EXPECT_NEAR(distortion("s8g32"), 2.9e-5, 0.9e-5);
  EXPECT_NEAR(distortion("s5g64"), 0.0023, 0.0002);
  EXPECT_NEAR(distortion("s4g32"), 0.0075, 0.0015);
  EXPECT_NEAR(distortion("s4g64"), 0.0095, 0.0010);
  EXPECT_NEAR(distortion("s3g64"), 0.0400, 0.0040);
}

TEST(Rtn, QuantizingARestoredRowGivesTheSameRow) {
  Rng rng(3);
  for (const char* layout : {"u2", "u3", "u4", "u5", "u8", "s8g32", "s5gt", "s4g32", "s3gt"}) {
    const PartShape shape = part_shape(*parse_layout(layout), 64);
    for (int repeat = 0; repeat < 200; ++repeat) {
      const auto once = round_trip(shape, gaussian_row(&rng, 64));
      const auto twice = round_trip(shape, once);
      for (size_t i = 0; i < once.size(); ++i)
        EXPECT_NEAR(twice[i], once[i], 2e-3f * (std::fabs(once[i]) + 1.0f)) << layout;
    }
  }
}

TEST(Rtn, ConstantTinyAndHugeGroups) {
  for (const char* layout : {"u2", "u4", "u5", "u8", "s8g32", "s5gt", "s4g32", "s3gt"}) {
    const PartShape shape = part_shape(*parse_layout(layout), 64);
    for (float value : {0.0f, 1.5f, -3.0f, 6e-8f, -60000.0f, 65504.0f}) {
      const auto out = round_trip(shape, std::vector<float>(64, value));
      for (float x : out) {
        EXPECT_TRUE(std::isfinite(x)) << layout << " " << value;
        EXPECT_NEAR(x, value, 0.004f * std::fabs(value) + 1e-6f) << layout;
      }
    }
    std::vector<float> wide(64, -65504.0f);
    wide[63] = wide[31] = 65504.0f;
    for (float x : round_trip(shape, wide)) EXPECT_TRUE(std::isfinite(x)) << layout;
    for (float& x : wide) x *= 1000.0f;  // what a transform may make of it: saturates
    for (float x : round_trip(shape, wide)) EXPECT_TRUE(std::isfinite(x)) << layout;
  }
}

// Rows that try the edges: equal and opposite extremes, constants, zeros of both signs, subnormal
// steps, values past f16.
std::vector<std::vector<float>> edge_rows(Rng* rng, int n) {
  std::vector<std::vector<float>> rows(16, std::vector<float>(static_cast<size_t>(n)));
  for (size_t r = 0; r < rows.size(); ++r)
    for (size_t i = 0; i < rows[r].size(); ++i) {
      const float x = rng->normal(), sign = i % 2 ? 1.0f : -1.0f;
      const float forms[] = {x,         1000.0f * x, sign * 2.5f,        0.0f,         sign * 0.0f,
                             6e-8f * x, 1e30f * x,   std::round(x),      -3.0f,        std::fabs(x),
                             1e-12f,    0.25f * x,   std::exp(3.0f * x), 65504 * sign, 1e-30f * x,
                             x * x * x};
      rows[r][i] = forms[r];
    }
  return rows;
}

TEST(Rtn, TileKernelsGiveTheSameBitsRowByRow) {
  Rng rng(4);
  for (const char* layout : {"u2", "u3g32", "u4gt", "u5g64", "u8g128", "s8g32", "s5gt", "s4g32",
                             "s4gt", "s3gt", "u2g64"})
    for (int head_dim : {8, 24, 40, 64, 80, 128, 200, 512}) {
      const PartShape shape = part_shape(*parse_layout(layout), head_dim);
      const auto rows = edge_rows(&rng, head_dim);
      std::vector<float> flat;
      for (const auto& row : rows) flat.insert(flat.end(), row.begin(), row.end());
      for (const KernelTable* table : runnable_kernels())
        for (const auto& [first, count] : {std::pair{0, 16}, {5, 1}, {0, 9}, {3, 13}}) {
          TileCodes tile;
          std::fill(std::begin(tile.codes), std::end(tile.codes), uint8_t{0xee});
          table->quantize_tile[static_cast<size_t>(shape.id)](shape, flat.data(), head_dim, first,
                                                              count, &tile);
          for (int i = 0; i < count; ++i) {
            RowCodes expected{};
            rtn_quantize(shape, rows[static_cast<size_t>(i)].data(), &expected);
            const uint8_t* codes = tile.codes + (first + i) * shape.padded_dim;
            for (int c = 0; c < shape.padded_dim; ++c)
              ASSERT_EQ(codes[c], c < head_dim ? expected.codes[c] : 0)
                  << table->name << " " << layout << " d=" << head_dim << " row " << i
                  << " c=" << c;
            for (int g = 0; g < shape.groups; ++g) {
              const int at = g * kTileTokens + first + i;
              EXPECT_EQ(tile.scales[at], expected.scales[g]) << layout << " row " << i;
              const bool uniform = layout_kind(shape.id) == LayoutKind::uniform;
              EXPECT_EQ(uniform ? tile.minima[at] : 0, expected.minima[g])
                  << layout << " row " << i;
            }
          }
          EXPECT_TRUE(first == 0 || tile.codes[(first - 1) * shape.padded_dim] == 0xee);
        }
    }
}

}  // namespace
}  // namespace kvkeep
