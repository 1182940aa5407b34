#include "kernels/copy_row.h"

#include <cstring>

namespace kvkeep {
namespace {

// One column of [rows][16 tokens] words of kWidth bytes.
template <size_t kWidth>
void copy_column(std::byte* to, const std::byte* from, size_t rows) {
  for (size_t i = 0; i < rows; ++i, to += kTileTokens * kWidth, from += kTileTokens * kWidth)
    std::memcpy(to, from, kWidth);
}

// Keys stand channel by channel, [head_dim][16 tokens], values row by row.
void copy_f16(const PartShape& shape, Side side, std::byte* to, int to_token, const std::byte* from,
              int from_token, int count) {
  const auto d = static_cast<size_t>(shape.head_dim), n = static_cast<size_t>(count);
  if (side == Side::value) {
    std::memcpy(to + 2 * d * static_cast<size_t>(to_token),
                from + 2 * d * static_cast<size_t>(from_token), 2 * d * n);
  } else if (count == kTileTokens) {
    std::memcpy(to, from, 2 * d * n);
  } else {
    for (size_t c = 0; c < d; ++c, to += 2 * kTileTokens, from += 2 * kTileTokens)
      for (size_t i = 0; i < n; ++i)
        std::memcpy(to + 2 * (static_cast<size_t>(to_token) + i),
                    from + 2 * (static_cast<size_t>(from_token) + i), 2);
  }
}

void copy_bytes(const PartShape& shape, Side side, std::byte* to, int to_token,
                const std::byte* from, int from_token) {
  const auto units = static_cast<size_t>(shape.padded_dim) / 4;
  if (side == Side::key) return copy_column<4>(to + 4 * to_token, from + 4 * from_token, units);
  // Unit 4c + token / 4 holds the token's channels 16c .. 16c+15, one in each word.
  to += 64 * (to_token / 4) + to_token % 4;
  from += 64 * (from_token / 4) + from_token % 4;
  for (size_t block = 0; block < units / 4; ++block)
    for (size_t channel = 0; channel < 16; ++channel)
      to[256 * block + 4 * channel] = from[256 * block + 4 * channel];
}

// Of a row of 8 bits all but the codes: scales and minima, [words][16 tokens].
void copy_side(const PartShape& shape, std::byte* to, int to_slot, const std::byte* from,
               int from_slot) {
  const auto place = [&](int slot) {
    return shape.side_offset() + static_cast<size_t>(slot / kTileTokens) * shape.tile_side_bytes +
           2 * static_cast<size_t>(slot % kTileTokens);
  };
  copy_column<2>(to + place(to_slot), from + place(from_slot),
                 shape.tile_side_bytes / (2 * kTileTokens));
}

}  // namespace

void copy_rows(const PartShape& shape, Side side, std::byte* to, int to_slot, const std::byte* from,
               int from_slot, int count) {
  const int bits = layout_bits(shape.id);
  const auto tile = [&](int slot) {
    return static_cast<size_t>(slot / kTileTokens) * shape.tile_code_bytes;
  };
  const int to_token = to_slot % kTileTokens, from_token = from_slot % kTileTokens;
  if (bits == 16)
    return copy_f16(shape, side, to + tile(to_slot), to_token, from + tile(from_slot), from_token,
                    count);
  for (int i = 0; i < count; ++i) {
    if (bits == 8) {
      copy_bytes(shape, side, to + tile(to_slot), to_token + i, from + tile(from_slot),
                 from_token + i);
      copy_side(shape, to, to_slot + i, from, from_slot + i);
    } else {
      RowCodes row;
      get_row(shape, side, from, from_slot + i, &row);
      put_row(shape, side, to, to_slot + i, row);
    }
  }
}

}  // namespace kvkeep
