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

void copy_f16(const PartShape& shape, Side side, std::byte* to, int to_token, const std::byte* from,
              int from_token) {
  const auto d = static_cast<size_t>(shape.head_dim);
  if (side == Side::key) {
    copy_column<2>(to + 2 * to_token, from + 2 * from_token, d);
  } else {
    std::memcpy(to + 2 * d * static_cast<size_t>(to_token),
                from + 2 * d * static_cast<size_t>(from_token), 2 * d);
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

}  // namespace

void copy_row(const PartShape& shape, Side side, std::byte* to, int to_slot, const std::byte* from,
              int from_slot) {
  const int bits = layout_bits(shape.id);
  if (bits < 8) {
    RowCodes row;
    get_row(shape, side, from, from_slot, &row);
    put_row(shape, side, to, to_slot, row);
    return;
  }
  const int to_token = to_slot % kTileTokens, from_token = from_slot % kTileTokens;
  const auto to_tile = static_cast<size_t>(to_slot / kTileTokens);
  const auto from_tile = static_cast<size_t>(from_slot / kTileTokens);
  std::byte* to_codes = to + to_tile * shape.tile_code_bytes;
  const std::byte* from_codes = from + from_tile * shape.tile_code_bytes;
  (bits == 16 ? copy_f16 : copy_bytes)(shape, side, to_codes, to_token, from_codes, from_token);
  const size_t words = shape.tile_side_bytes / (2 * kTileTokens);  // scales, minima: [words][16]
  copy_column<2>(to + shape.side_offset() + to_tile * shape.tile_side_bytes + 2 * to_token,
                 from + shape.side_offset() + from_tile * shape.tile_side_bytes + 2 * from_token,
                 words);
}

}  // namespace kvkeep
