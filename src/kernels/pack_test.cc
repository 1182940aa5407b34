#include <gtest/gtest.h>

#include <cstring>

#include "kernels/test_parts.h"

namespace kvkeep {
namespace {

// Random rows for a whole tile, once as pack takes them and once as put_row does.
struct TileRows {
  TileRows(Rng& rng, const PartShape& shape) {
    for (size_t token = 0; token < kTileTokens; ++token) {
      rows[token] = random_codes(rng, shape);
      uint8_t* codes = tile.codes + token * static_cast<size_t>(shape.padded_dim);
      std::memset(codes, 0, static_cast<size_t>(shape.padded_dim));
      std::memcpy(codes, rows[token].codes, static_cast<size_t>(shape.head_dim));
      for (size_t g = 0; g < static_cast<size_t>(shape.groups); ++g) {
        tile.scales[g * kTileTokens + token] = rows[token].scales[g];
        tile.minima[g * kTileTokens + token] = rows[token].minima[g];
      }
    }
  }

  RowCodes rows[kTileTokens];
  TileCodes tile;
};

// Any range of a tile's tokens becomes what put_row makes of it, and no other byte changes.
TEST(Pack, EqualsPutRowForEveryLayoutRangeAndIsa) {
  for_each_part([](const PartShape& shape, Side side) {
    if (shape.groups == 0) return;
    Rng rng(6);
    const TestPart before = random_part(shape, side, 7);
    const TileRows rows(rng, shape);
    AlignedBuffer<std::byte> expected(shape.bytes()), found(shape.bytes());
    for (const auto& [first, count] : {std::pair{0, 16}, {0, 1}, {3, 5}, {15, 1}, {9, 7}})
      for (const int tile : {0, 3}) {
        std::memcpy(expected.data(), before.bytes.data(), shape.bytes());
        for (int t = first; t < first + count; ++t)
          put_row(shape, side, expected.data(), tile * kTileTokens + t, rows.rows[t]);
        for (const KernelTable* table : runnable_kernels()) {
          std::memcpy(found.data(), before.bytes.data(), shape.bytes());
          const auto id = static_cast<size_t>(shape.id);
          const auto pack = side == Side::key ? table->pack_keys[id] : table->pack_values[id];
          pack(shape, rows.tile, first, count, found.data(), tile);
          EXPECT_EQ(std::memcmp(found.data(), expected.data(), shape.bytes()), 0)
              << table->name << " tokens " << first << " + " << count << " of tile " << tile;
        }
      }
  });
}

}  // namespace
}  // namespace kvkeep
