#include "codec/demote.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "base/rng.h"
#include "codec/rtn.h"
#include "kernels/isa.h"

namespace kvkeep {
namespace {

Level level_of(const std::string& k, const std::string& v, int head_dim) {
  return {part_shape(*parse_layout(k), head_dim), part_shape(*parse_layout(v), head_dim), true,
          true};
}

std::vector<float> normals(Rng* rng, size_t n) {
  std::vector<float> x(n);
  for (float& value : x) value = rng->normal();
  return x;
}

struct Store {
  explicit Store(const Level& l)
      : level(l),
        pool(TierShape{l.k.bytes(), l.v.bytes(), true}.block_bytes()),
        tier(&pool, nullptr, {l.k.bytes(), l.v.bytes(), true}) {}

  // Appends n rows at positions from `first` on, in batches of ragged size.
  void append(Rng* rng, int n, int first) {
    const auto d = static_cast<size_t>(level.k.head_dim);
    for (int batch = 1; n > 0; batch = batch % kDemoteBatch + 1) {
      const int count = std::min(batch, n);
      std::vector<RowTag> tags;
      for (int i = 0; i < count; ++i, ++first)
        tags.push_back({first, 0.5f * static_cast<float>(first)});
      const auto k = normals(rng, static_cast<size_t>(count) * d);
      const auto v = normals(rng, static_cast<size_t>(count) * d);
      keys.insert(keys.end(), k.begin(), k.end());
      values.insert(values.end(), v.begin(), v.end());
      append_coded(level, &tier, tags, k.data(), v.data());
      n -= count;
    }
  }

  Level level;
  BlockPool pool;
  Tier tier;
  std::vector<float> keys, values;  // every row, in the order appended
};

// Codes and sides of a slot as plain bytes.
std::vector<int> content(const PartShape& shape, Side side, const std::byte* part, int lane) {
  RowCodes row;
  get_row(shape, side, part, lane, &row);
  std::vector<int> all(row.codes, row.codes + shape.head_dim);
  all.insert(all.end(), row.scales, row.scales + shape.groups);
  all.insert(all.end(), row.minima, row.minima + shape.groups);
  return all;
}

std::vector<int> content(const Store& s, int slot) {
  auto all = content(s.level.k, Side::key, s.tier.k_part(slot / 64), slot % 64);
  const auto v = content(s.level.v, Side::value, s.tier.v_part(slot / 64), slot % 64);
  all.insert(all.end(), v.begin(), v.end());
  return all;
}

std::vector<int> quantized(const PartShape& shape, const float* row) {
  RowCodes codes{};
  rtn_quantize(shape, row, &codes);
  std::vector<int> all(codes.codes, codes.codes + shape.head_dim);
  all.insert(all.end(), codes.scales, codes.scales + shape.groups);
  all.insert(all.end(), codes.minima, codes.minima + shape.groups);
  return all;
}

constexpr const char* kPairs[][2] = {{"u4", "u2g32"},  {"u3", "u3gt"},  {"u2gt", "u4g32"},
                                     {"u8", "s8"},     {"s4g32", "u8"}, {"s8gt", "s4"},
                                     {"s4gt", "s3gt"}, {"u8", "s5gt"},  {"u5", "s3gt"}};

TEST(Demote, BatchesOfAnySizeAreThePlainQuantizerRowByRow) {
  for (const auto& pair : kPairs)
    for (int head_dim : {32, 40, 64, 80, 128, 256}) {
      Store s(level_of(pair[0], pair[1], head_dim));
      Rng rng(3);
      s.append(&rng, 200, 0);
      for (int slot = 0; slot < 200; ++slot) {
        auto expected = quantized(s.level.k, s.keys.data() + slot * head_dim);
        const auto v = quantized(s.level.v, s.values.data() + slot * head_dim);
        expected.insert(expected.end(), v.begin(), v.end());
        ASSERT_EQ(content(s, slot), expected)
            << pair[0] << " " << pair[1] << " " << head_dim << " slot " << slot;
        EXPECT_EQ(s.tier.position(slot), slot);
      }
    }
}

TEST(Demote, RemovedRowsAreGoneAndAllOthersSurviveBitForBit) {
  Rng rng(8);
  for (const auto& pair : kPairs)
    for (int removed : {1, 16, 16, 37, 63, 64, 100, 170, 199, 200}) {
      Store s(level_of(pair[0], pair[1], 40));
      s.append(&rng, 200, 0);
      std::map<int, std::vector<int>> before;
      for (int slot = 0; slot < 200; ++slot) before[s.tier.position(slot)] = content(s, slot);
      std::vector<int> slots(200);
      std::iota(slots.begin(), slots.end(), 0);
      if (rng.below(2) == 0)  // side by side, or anywhere
        std::rotate(slots.begin(), slots.begin() + static_cast<int>(rng.below(200)), slots.end());
      else
        for (size_t i = 200; i-- > 1;) std::swap(slots[i], slots[rng.below(i + 1)]);
      slots.resize(static_cast<size_t>(removed));
      for (int slot : slots) before.erase(s.tier.position(slot));
      remove_rows(s.level, &s.tier, slots);
      ASSERT_EQ(s.tier.size(), 200 - removed);
      std::map<int, std::vector<int>> after;
      for (int slot = 0; slot < s.tier.size(); ++slot) {
        after[s.tier.position(slot)] = content(s, slot);
        EXPECT_EQ(s.tier.score(slot), 0.5f * static_cast<float>(s.tier.position(slot)));
      }
      EXPECT_EQ(after, before) << pair[0] << " " << pair[1] << " removed " << removed;
      const auto [order, positions] = slots_by_position(s.tier);
      ASSERT_EQ(order.size(), before.size());
      size_t i = 0;
      for (const auto& [position, _] : before) {  // ascending
        EXPECT_EQ(positions[i], position);
        EXPECT_EQ(s.tier.position(order[i++]), position);
      }
    }
}

TEST(Demote, GatheredRowsAreTheSlotsAsked) {
  Store s(level_of("u4", "u2", 80));
  Rng rng(5);
  s.append(&rng, 130, 0);
  std::vector<float> k(130 * 80), v(130 * 80);
  for (int block = 0; block < 3; ++block) {
    const int n = std::min(64, 130 - 64 * block);
    kernels().read_keys[static_cast<size_t>(s.level.k.id)](s.level.k, s.tier.k_part(block), 0, n,
                                                           k.data() + block * 64 * 80, 80);
    kernels().read_values[static_cast<size_t>(s.level.v.id)](s.level.v, s.tier.v_part(block), 0, n,
                                                             v.data() + block * 64 * 80, 80);
  }
  const std::vector<int> slots = {3, 4, 7, 15, 16, 2, 129, 64, 63, 65, 66, 79};
  std::vector<float> some_k(slots.size() * 80), some_v(some_k.size());
  gather_rows(s.level, s.tier, slots, some_k.data(), some_v.data());
  for (size_t i = 0; i < slots.size(); ++i)
    for (size_t c = 0; c < 80; ++c) {
      EXPECT_EQ(some_k[i * 80 + c], k[static_cast<size_t>(slots[i]) * 80 + c]);
      EXPECT_EQ(some_v[i * 80 + c], v[static_cast<size_t>(slots[i]) * 80 + c]);
    }
  std::vector<float> keys_alone(some_k.size());
  gather_rows(s.level, s.tier, slots, keys_alone.data(), nullptr);
  EXPECT_EQ(keys_alone, some_k);
}

TEST(Demote, OrderIsPinThenScoreThenPosition) {
  const float scores[] = {-1e30f, -2.0f, -0.0f, 0.0f, 1e-40f, 3.0f, 1e30f};
  std::vector<uint64_t> orders;
  for (size_t i = 0; i < std::size(scores); ++i) orders.push_back(demotion_order(0, scores[i], i));
  orders.push_back(demotion_order(1, -5.0f, 0));
  orders.push_back(demotion_order(1, -9.0f, 1));  // scores of pinned rows do not count
  orders.push_back(demotion_order(2, 0.0f, 0));
  EXPECT_TRUE(std::is_sorted(orders.begin(), orders.end()));
  EXPECT_LT(demotion_order(0, 0.0f, 1), demotion_order(0, -0.0f, 2));  // zeros tie
}

TEST(Demote, LowestAreThoseASortWouldChoose) {
  Rng rng(2);
  for (int n : {1, 2, 17, 1000}) {
    std::vector<uint64_t> orders;
    for (int i = 0; i < n; ++i)  // many ties of score
      orders.push_back(demotion_order(0, static_cast<float>(rng.below(9)), static_cast<size_t>(i)));
    for (int count : {1, n / 2 + 1, n}) {
      std::vector<uint64_t> sorted = orders;
      std::sort(sorted.begin(), sorted.end());
      const std::set<uint64_t> expected(sorted.begin(), sorted.begin() + count);
      std::set<uint64_t> found;
      for (size_t place : lowest(orders, count)) found.insert(orders[place]);
      EXPECT_EQ(found, expected);
    }
  }
}

}  // namespace
}  // namespace kvkeep
