// The byte format of parts, one code at a time. Slow and plain on purpose: put_row and get_row
// define what every kernel must read.
#include "kernels/layout.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>

#include "base/check.h"
#include "base/fail.h"

#define KVKEEP_TARGET layout_bytes
#include "kernels/layout/all.h"

namespace kvkeep {
namespace {

namespace bytes = layout_bytes;

struct LayoutRow {
  const char* name;
  LayoutKind kind;
  int bits;
};

constexpr LayoutRow kRows[] = {
#define KVKEEP_LAYOUT(id, kind, bits) {#id, LayoutKind::kind, bits},
#include "kernels/layouts.inc"
#undef KVKEEP_LAYOUT
};

const LayoutRow& row_of(LayoutId id) {
  const auto index = static_cast<size_t>(id);
  KVKEEP_CHECK(index < std::size(kRows), "layout id {}", index);
  return kRows[index];
}

// The calls of Codes<bits> with the width known at run time.
struct CodeAccess {
  int units_per_row, mask_bytes;
  unsigned (*load)(const uint8_t* codes, const uint8_t* masks, int unit, int lane);
  void (*store)(uint8_t* codes, uint8_t* masks, int unit, int lane, unsigned code);
};

template <int kBits>
constexpr CodeAccess code_access() {
  if constexpr (kBits == 16) return {};
  if constexpr (kBits < 16) {
    using Codes = bytes::Codes<kBits>;
    return {Codes::kUnitsPerRow, Codes::kMaskBytes, Codes::load, Codes::store};
  }
}

constexpr CodeAccess kAccess[] = {
#define KVKEEP_LAYOUT(id, kind, bits) code_access<bits>(),
#include "kernels/layouts.inc"
#undef KVKEEP_LAYOUT
};

template <int kBits, LayoutKind kKind>
constexpr CodebookPoints codebook_of() {
  if constexpr (kKind != LayoutKind::codebook) return {};
  if constexpr (kKind == LayoutKind::codebook) {
    using Book = bytes::Codebook<kBits>;
    return {Book::kTop, Book::kPerSigma, Book::kPoints};
  }
}

constexpr CodebookPoints kCodebooks[] = {
#define KVKEEP_LAYOUT(id, kind, bits) codebook_of<bits, LayoutKind::kind>(),
#include "kernels/layouts.inc"
#undef KVKEEP_LAYOUT
};

// Where the code of (slot, d) stands inside its tile.
struct Place {
  int unit, lane;
};

Place place_of(Side side, int token, int d) {
  if (side == Side::key) return {d / 4, 4 * token + d % 4};
  return {4 * (d / 16) + token / 4, 4 * (d % 16) + token % 4};
}

void check_slot(const PartShape& shape, int slot) {
  KVKEEP_CHECK(slot >= 0 && slot < kBlockTokens, "slot {}", slot);
  KVKEEP_CHECK(shape.head_dim > 0 && shape.head_dim <= kMaxHeadDim, "{}", shape.head_dim);
}

// Offsets of the scale and the minimum of (slot, group); the minimum of a symmetric layout is void.
size_t scale_offset(const PartShape& shape, int slot, int group) {
  const int words = layout_kind(shape.id) == LayoutKind::uniform ? 2 * kTileTokens : kTileTokens;
  const size_t tile = static_cast<size_t>(slot / kTileTokens);
  const int word = group * words + slot % kTileTokens;
  return shape.side_offset() + tile * shape.tile_side_bytes + 2 * static_cast<size_t>(word);
}
constexpr size_t kMinimumOffset = 2 * kTileTokens;

size_t f16_offset(const PartShape& shape, Side side, int slot, int d) {
  const size_t tile = static_cast<size_t>(slot / kTileTokens);
  const int token = slot % kTileTokens;
  const int word = side == Side::key ? bytes::f16_key_word(token, d)
                                     : bytes::f16_value_word(token, d, shape.head_dim);
  return tile * shape.tile_code_bytes + 2 * static_cast<size_t>(word);
}

int resolve_group(int group, int head_dim) {
  if (group == kGroupToken) return head_dim;
  if (group != kGroupHalf) return group;
  return head_dim / 2 >= 128 ? 128 : head_dim / 2 >= 64 ? 64 : 32;
}

int default_group(LayoutId id) {
  switch (layout_kind(id)) {
    case LayoutKind::exact:
    case LayoutKind::by_channel:
      return 0;
    case LayoutKind::codebook:
      return kGroupToken;
    default:
      return kGroupHalf;
  }
}

bool is_group(int group) { return group == 32 || group == 64 || group == 128; }

}  // namespace

LayoutKind layout_kind(LayoutId id) { return row_of(id).kind; }
int layout_bits(LayoutId id) { return row_of(id).bits; }

CodebookPoints codebook_points(LayoutId id) {
  KVKEEP_CHECK(layout_kind(id) == LayoutKind::codebook, "layout id {}", static_cast<int>(id));
  return kCodebooks[static_cast<size_t>(id)];
}

float code_value(LayoutId id, unsigned code) {
  switch (layout_kind(id)) {
    case LayoutKind::symmetric:
      return static_cast<float>(code) - static_cast<float>(1 << (layout_bits(id) - 1));
    case LayoutKind::codebook: {
      const CodebookPoints book = codebook_points(id);
      return static_cast<float>(book.points[code]) - 0.5f * static_cast<float>(book.top);
    }
    default:
      return static_cast<float>(code);
  }
}

Result<Layout> parse_layout(const std::string& text) {
  std::string names;
  for (size_t i = 0; i < std::size(kRows); ++i) {
    const LayoutRow& row = kRows[i];
    const std::string_view name = row.name;
    names += (i ? ", " : "") + std::string(name);
    if (!text.starts_with(name)) continue;
    const std::string_view rest = std::string_view(text).substr(name.size());
    const bool exact = row.kind == LayoutKind::exact || row.kind == LayoutKind::by_channel;
    const auto id = static_cast<LayoutId>(i);
    if (rest.empty()) return Layout{id, default_group(id)};
    if (exact) return bad_input("layout '{}': {} takes no group", text, name);
    if (rest == "gt") return Layout{id, kGroupToken};
    if (rest == "gh") return Layout{id, kGroupHalf};
    int group = 0;
    if (rest[0] == 'g') {
      const auto [end, error] = std::from_chars(rest.data() + 1, rest.data() + rest.size(), group);
      if (error != std::errc() || end != rest.data() + rest.size()) group = 0;
    }
    if (is_group(group)) return Layout{id, group};
    return bad_input("layout '{}': '{}' is not a group; allowed: g32, g64, g128, gt, gh or nothing",
                     text, rest);
  }
  return bad_input("unknown layout '{}'; allowed: {}, each but f16 with a group such as u4g64",
                   text, names);
}

std::string layout_name(const Layout& layout) {
  const std::string name = row_of(layout.id).name;
  if (layout.group == default_group(layout.id) || by_channel(layout.id)) return name;
  if (layout.group == kGroupToken) return name + "gt";
  if (layout.group == kGroupHalf) return name + "gh";
  return fmt::format("{}g{}", name, layout.group);
}

PartShape part_shape(const Layout& layout, int head_dim) {
  KVKEEP_CHECK(head_dim >= 8 && head_dim <= kMaxHeadDim && head_dim % 8 == 0, "head_dim {}",
               head_dim);
  PartShape shape;
  shape.id = layout.id;
  shape.head_dim = head_dim;
  if (layout_kind(layout.id) == LayoutKind::exact) {
    KVKEEP_CHECK(layout.group == 0, "group {} of an f16 layout", layout.group);
    shape.padded_dim = head_dim;
    shape.tile_code_bytes = static_cast<size_t>(head_dim) * kTileTokens * 2;
    return shape;
  }
  KVKEEP_CHECK(layout.group == kGroupHalf || layout.group == kGroupToken ||
                   is_group(layout.group) || by_channel(layout.id),
               "group {}", layout.group);
  const CodeAccess& access = kAccess[static_cast<size_t>(layout.id)];
  const bool uniform = layout_kind(layout.id) == LayoutKind::uniform;
  shape.padded_dim = (head_dim + 15) / 16 * 16;
  shape.group = by_channel(layout.id) ? head_dim : resolve_group(layout.group, head_dim);
  shape.groups = (head_dim + shape.group - 1) / shape.group;
  const auto units = static_cast<size_t>(shape.padded_dim) / 4;
  shape.tile_code_bytes = units * bytes::kUnitCodes / static_cast<size_t>(access.units_per_row);
  shape.tile_mask_bytes = units * static_cast<size_t>(access.mask_bytes);
  shape.tile_side_bytes = static_cast<size_t>(shape.groups * kTileTokens) * (uniform ? 4 : 2);
  if (by_channel(layout.id))
    shape.tile_side_bytes = static_cast<size_t>(shape.padded_dim) * 4 / kChannelTiles;
  return shape;
}

uint16_t* channel_side(const PartShape& shape, std::byte* part, int tile) {
  KVKEEP_CHECK(by_channel(shape.id), "layout id {}", static_cast<int>(shape.id));
  const auto first = static_cast<size_t>(tile / kChannelTiles * kChannelTiles);
  return reinterpret_cast<uint16_t*>(part + shape.side_offset() + first * shape.tile_side_bytes);
}

void put_row(const PartShape& shape, Side side, std::byte* part, int slot, const RowCodes& row) {
  check_slot(shape, slot);
  KVKEEP_CHECK(shape.groups > 0, "put_row on an f16 part");
  const CodeAccess& access = kAccess[static_cast<size_t>(shape.id)];
  const size_t tile = static_cast<size_t>(slot / kTileTokens);
  auto* codes = reinterpret_cast<uint8_t*>(part) + tile * shape.tile_code_bytes;
  auto* masks =
      reinterpret_cast<uint8_t*>(part) + shape.mask_offset() + tile * shape.tile_mask_bytes;
  unsigned all = 0;
  for (int d = 0; d < shape.head_dim; ++d) {
    const Place place = place_of(side, slot % kTileTokens, d);
    access.store(codes, masks, place.unit, place.lane, row.codes[d]);
    all |= row.codes[d];
  }
  KVKEEP_CHECK(all >> layout_bits(shape.id) == 0, "a code of {} bits is too large",
               layout_bits(shape.id));
  for (int group = 0; group < shape.groups && !by_channel(shape.id); ++group) {
    std::byte* scale = part + scale_offset(shape, slot, group);
    std::memcpy(scale, &row.scales[group], 2);
    if (layout_kind(shape.id) == LayoutKind::uniform)
      std::memcpy(scale + kMinimumOffset, &row.minima[group], 2);
  }
}

void get_row(const PartShape& shape, Side side, const std::byte* part, int slot, RowCodes* row) {
  check_slot(shape, slot);
  KVKEEP_CHECK(shape.groups > 0, "get_row on an f16 part");
  const CodeAccess& access = kAccess[static_cast<size_t>(shape.id)];
  const size_t tile = static_cast<size_t>(slot / kTileTokens);
  const auto* start = reinterpret_cast<const uint8_t*>(part);
  const uint8_t* codes = start + tile * shape.tile_code_bytes;
  const uint8_t* masks = start + shape.mask_offset() + tile * shape.tile_mask_bytes;
  for (int d = 0; d < shape.head_dim; ++d) {
    const Place place = place_of(side, slot % kTileTokens, d);
    row->codes[d] = static_cast<uint8_t>(access.load(codes, masks, place.unit, place.lane));
  }
  for (int group = 0; group < shape.groups && !by_channel(shape.id); ++group) {
    const std::byte* scale = part + scale_offset(shape, slot, group);
    std::memcpy(&row->scales[group], scale, 2);
    row->minima[group] = 0;
    if (layout_kind(shape.id) == LayoutKind::uniform)
      std::memcpy(&row->minima[group], scale + kMinimumOffset, 2);
  }
}

void put_row_f16(const PartShape& shape, Side side, std::byte* part, int slot,
                 const uint16_t* row) {
  check_slot(shape, slot);
  KVKEEP_CHECK(shape.groups == 0, "put_row_f16 on a quantized part");
  for (int d = 0; d < shape.head_dim; ++d)
    std::memcpy(part + f16_offset(shape, side, slot, d), row + d, 2);
}

void get_row_f16(const PartShape& shape, Side side, const std::byte* part, int slot,
                 uint16_t* row) {
  check_slot(shape, slot);
  KVKEEP_CHECK(shape.groups == 0, "get_row_f16 on a quantized part");
  for (int d = 0; d < shape.head_dim; ++d)
    std::memcpy(row + d, part + f16_offset(shape, side, slot, d), 2);
}

}  // namespace kvkeep
