#include "kernels/layout.h"

#include <gtest/gtest.h>

#include <cstring>

#include "kernels/test_parts.h"

namespace kvkeep {
namespace {

TEST(Layout, NamesAreReadAndPrinted) {
  for (const char* name : {"f16", "u8", "u5", "u4g64", "u4gt", "u3g32", "u2g128", "s8gt", "s5gt",
                           "s4", "s3gt", "c4", "c3g32", "c2gh"}) {
    const auto layout = parse_layout(name);
    ASSERT_TRUE(layout) << layout.error().message;
    EXPECT_EQ(layout_name(*layout), name);
  }
  EXPECT_EQ(parse_layout("u4g64").value(), (Layout{LayoutId::u4, 64}));
  EXPECT_EQ(parse_layout("u4").value(), (Layout{LayoutId::u4, kGroupHalf}));
  EXPECT_EQ(parse_layout("u4gh").value(), (Layout{LayoutId::u4, kGroupHalf}));
  EXPECT_EQ(parse_layout("u4gt").value(), (Layout{LayoutId::u4, kGroupToken}));
  EXPECT_EQ(parse_layout("c4").value(), (Layout{LayoutId::c4, kGroupToken}));
  EXPECT_EQ(parse_layout("f16").value(), (Layout{LayoutId::f16, 0}));
}

TEST(Layout, BadNamesAreErrorsThatListWhatIsAllowed) {
  for (const char* name : {"", "u", "q4_0", "u6", "U4", " u4", "4"}) {
    const auto layout = parse_layout(name);
    ASSERT_FALSE(layout) << name;
    EXPECT_EQ(layout.error().code, ErrorCode::bad_input);
    EXPECT_NE(
        layout.error().message.find("f16, u8, u5, u4, u3, u2, s8, s5, s4, s3, c4, c3, c2, k4, k2"),
        std::string::npos);
  }
  for (const char* name : {"u4g", "u4g48", "u4g064x", "u4g-1", "u4g-2", "u4t", "u4gt ", "u4g0",
                           "u4g99999999999", "u4g256"}) {
    const auto layout = parse_layout(name);
    ASSERT_FALSE(layout) << name;
    EXPECT_NE(layout.error().message.find("allowed: g32, g64, g128, gt"), std::string::npos);
  }
  EXPECT_FALSE(parse_layout("f16g64"));
}

TEST(Layout, ShapesResolveGroupsAndSizes) {
  EXPECT_EQ(part_shape({LayoutId::u4, kGroupHalf}, 128).group, 64);
  EXPECT_EQ(part_shape({LayoutId::u4, kGroupHalf}, 80).group, 32);
  EXPECT_EQ(part_shape({LayoutId::u4, kGroupHalf}, 80).groups, 3);
  EXPECT_EQ(part_shape({LayoutId::u4, kGroupHalf}, 8).group, 32);
  EXPECT_EQ(part_shape({LayoutId::u4, kGroupHalf}, 512).group, 128);
  EXPECT_EQ(part_shape({LayoutId::u4, kGroupToken}, 24).group, 24);
  EXPECT_EQ(part_shape({LayoutId::u4, kGroupToken}, 24).padded_dim, 32);
  // 4.5 bits a value: 4 for the code, 32 for scale and minimum of 64 channels.
  EXPECT_EQ(part_shape({LayoutId::u4, 64}, 128).bytes() * 8, 64u * 128u * 9 / 2);
  EXPECT_EQ(part_shape({LayoutId::s8, 128}, 128).bytes() * 8, 64u * 128u * 65 / 8);
  EXPECT_EQ(part_shape({LayoutId::f16, 0}, 80).bytes(), 64u * 80u * 2);
  for_each_part([](const PartShape& shape, Side) { EXPECT_EQ(shape.bytes() % 64, 0u); });
}

TEST(Layout, EveryRowSurvivesAndLeavesItsNeighboursAlone) {
  for_each_part([](const PartShape& shape, Side side) {
    Rng rng(1);
    AlignedBuffer<std::byte> part(shape.bytes());
    std::vector<RowCodes> rows(kBlockTokens);
    std::vector<std::vector<F16>> words(kBlockTokens);
    for (int pass = 0; pass < 2; ++pass)  // the second overwrites the first
      for (int i = 0; i < kBlockTokens; ++i) {
        const int slot = (i * 37 + 11) % kBlockTokens;
        const auto at = static_cast<size_t>(slot);
        if (shape.id == LayoutId::f16) {
          words[at] = random_halves(rng, shape.head_dim);
          put_row_f16(shape, side, part.data(), slot, words[at].data());
        } else {
          rows[at] = random_codes(rng, shape);
          put_row(shape, side, part.data(), slot, rows[at]);
        }
      }
    for (int slot = 0; slot < kBlockTokens; ++slot) {
      const auto at = static_cast<size_t>(slot);
      if (shape.id == LayoutId::f16) {
        std::vector<F16> back(static_cast<size_t>(shape.head_dim));
        get_row_f16(shape, side, part.data(), slot, back.data());
        EXPECT_EQ(back, words[at]);
        continue;
      }
      RowCodes back;
      get_row(shape, side, part.data(), slot, &back);
      EXPECT_EQ(std::memcmp(back.codes, rows[at].codes, static_cast<size_t>(shape.head_dim)), 0);
      for (int group = 0; group < shape.groups && !by_channel(shape.id); ++group) {
        EXPECT_EQ(back.scales[group], rows[at].scales[group]);
        const bool uniform = layout_kind(shape.id) == LayoutKind::uniform;
        EXPECT_EQ(back.minima[group], uniform ? rows[at].minima[group] : 0);
      }
    }
  });
}

// The byte format is a promise to files and kernels. These values come from a separate program
// written from the comment of layout.h; if one changes, old cache files become unreadable.
struct Golden {
  const char* layout;
  size_t bytes;
  const char *key_start, *value_start;  // the first eight bytes
  uint64_t key_hash, value_hash;        // FNV-1a of the part
};
constexpr Golden kGolden[] = {
    {"f16", 1024, "003c103c203c303c", "003c013c023c033c", 0x2dc6ba02369efc25u, 0xd8c87e3fb13e2425u},
    {"u8gt", 1280, "00030609070b0f13", "00070e15030b131b", 0x9366ce9216bb3e65u,
     0x87d8f485222a4a85u},
    {"u5gt", 896, "00030609070b0f13", "c0e72e75034b93db", 0xe54c4060c6f71be5u, 0x3b09e2a4ac8c2b55u},
    {"u4gt", 768, "c0f3265977bbff33", "c037ae1533bb33bb", 0xc12ce6c393bb0845u, 0x03ecbca6e184fa45u},
    {"u3gt", 640, "203b16293f1b3f1b", "20df964ddbdbdbdb", 0x118a2b686e49a4c5u, 0x64b1b46b54f45515u},
    {"u2gt", 512, "000f0a050f0f0f0f", "00ffaa55ffffffff", 0xa0c4766d66d4d045u, 0xaf059c8f0dc76555u},
    {"s8gt", 1152, "00030609070b0f13", "00070e15030b131b", 0x132dc4902cf2c345u,
     0x9daae7d21d493c65u},
    {"s5gt", 768, "00030609070b0f13", "c0e72e75034b93db", 0x8ee60bd85d04f4c5u, 0xb63418544b351c35u},
    {"s4gt", 640, "c0f3265977bbff33", "c037ae1533bb33bb", 0x9b3d506df2e84e25u, 0x475c763267ce4025u},
    {"s3gt", 512, "203b16293f1b3f1b", "20df964ddbdbdbdb", 0x7267c3ead30cb4a5u, 0xd0d6c58fb23e91f5u},
    {"c4", 640, "c0f3265977bbff33", "c037ae1533bb33bb", 0x9b3d506df2e84e25u, 0x475c763267ce4025u},
    {"c3", 512, "203b16293f1b3f1b", "20df964ddbdbdbdb", 0x7267c3ead30cb4a5u, 0xd0d6c58fb23e91f5u},
    {"c2", 384, "000f0a050f0f0f0f", "00ffaa55ffffffff", 0x90bf6e1f7e721625u, 0x0e62d3d61cfc5635u},
    {"k4", 640, "c0f3265977bbff33", "c037ae1533bb33bb", 0x4e6dc001ce1a3705u, 0xfa8ce5c643002905u},
    {"k2", 384, "000f0a050f0f0f0f", "00ffaa55ffffffff", 0x43efddb359a3ff05u, 0x48d64663a49d5895u},
};

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) text += fmt::format("{:02x}", static_cast<int>(byte));
  return text;
}

uint64_t fnv1a(std::span<const std::byte> bytes) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const std::byte byte : bytes) hash = (hash ^ static_cast<uint64_t>(byte)) * 0x100000001b3u;
  return hash;
}

// One tile of 16 tokens, head_dim 8.
AlignedBuffer<std::byte> golden_part(const PartShape& shape, Side side) {
  AlignedBuffer<std::byte> part(shape.bytes());
  const int levels = 1 << layout_bits(shape.id);
  for (int slot = 0; slot < kTileTokens; ++slot) {
    RowCodes row{};
    F16 words[8];
    for (int d = 0; d < 8; ++d) {
      row.codes[d] = static_cast<uint8_t>((7 * slot + 3 * d + slot * d) % levels);
      words[d] = static_cast<F16>(0x3c00 + 16 * slot + d);
    }
    row.scales[0] = static_cast<F16>(0x3c00 + slot);
    row.minima[0] = static_cast<F16>(0xbc00 + slot);
    if (shape.id == LayoutId::f16) put_row_f16(shape, side, part.data(), slot, words);
    if (shape.id != LayoutId::f16) put_row(shape, side, part.data(), slot, row);
  }
  return part;
}

TEST(Layout, BytesArePinned) {
  static_assert(std::size(kGolden) == kLayouts, "one row a layout");
  for (const Golden& golden : kGolden) {
    const PartShape shape = part_shape(parse_layout(golden.layout).value(), 8);
    EXPECT_EQ(shape.bytes(), golden.bytes) << golden.layout;
    const auto key = golden_part(shape, Side::key), value = golden_part(shape, Side::value);
    EXPECT_EQ(hex(key.span().first(8)), golden.key_start) << golden.layout;
    EXPECT_EQ(hex(value.span().first(8)), golden.value_start) << golden.layout;
    EXPECT_EQ(fnv1a(key.span()), golden.key_hash) << golden.layout;
    EXPECT_EQ(fnv1a(value.span()), golden.value_hash) << golden.layout;
  }
}

}  // namespace
}  // namespace kvkeep
