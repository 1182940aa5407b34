// The integer kernels: factors and sums equal on every ISA, results within the bound that rounding
// the query and the weights allows.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "kernels/test_parts.h"

namespace kvkeep {
namespace {

struct Calls {
  const KernelTable& table;
  const TestPart& part;
  int count, heads;

  size_t id() const { return static_cast<size_t>(part.shape.id); }
  std::vector<QueryCodes> query(const std::vector<float>& q) const {
    std::vector<QueryCodes> codes(static_cast<size_t>(heads));
    std::memset(static_cast<void*>(codes.data()), 0, codes.size() * sizeof(QueryCodes));
    table.quantize_query[id()](part.shape, q.data(), part.shape.padded_dim, heads, codes.data());
    return codes;
  }
  std::vector<float> score(const std::vector<float>& q) const {
    std::vector<float> logits(static_cast<size_t>(heads * kBlockTokens), 12345.0f);
    table.score_codes[id()](part.shape, part.bytes.data(), nullptr, count, query(q).data(), heads,
                            logits.data());
    return logits;
  }
  // Weights beyond count are NaN: they must not be read.
  std::vector<float> accumulate(std::vector<float> weights) const {
    for (size_t i = 0; i < weights.size(); ++i)
      if (static_cast<int>(i) % kBlockTokens >= count) weights[i] = NAN;
    std::vector<float> out(static_cast<size_t>(heads * (part.shape.head_dim + 3)), 0.5f);
    table.accumulate_codes[id()](part.shape, part.bytes.data(), nullptr, count, weights.data(),
                                 heads, out.data(), part.shape.head_dim + 3);
    return out;
  }
};

bool wide(const PartShape& shape) { return layout_bits(shape.id) == 8; }

// q [heads][padded_dim], zero beyond head_dim.
std::vector<float> random_query(const PartShape& shape, int heads, Rng& rng) {
  std::vector<float> q(static_cast<size_t>(heads * shape.padded_dim));
  for (size_t i = 0; i < q.size(); ++i)
    if (static_cast<int>(i) % shape.padded_dim < shape.head_dim) q[i] = rng.normal();
  return q;
}

std::vector<float> random_weights(int heads, Rng& rng) {
  std::vector<float> weights(static_cast<size_t>(heads * kBlockTokens));
  for (float& w : weights) w = rng.uniform();
  return weights;
}

// |value| of the code farthest from the middle of a layout, with scales of at most 1.5 / 2^bits.
constexpr double kHalfSpan = 0.75;

void check_scores(const TestPart& part, int count, int heads) {
  Rng rng(5);
  const auto q = random_query(part.shape, heads, rng);
  const int dim = part.shape.head_dim, padded = part.shape.padded_dim;
  const auto spec = Calls{*runnable_kernels()[0], part, count, heads}.score(q);
  const auto spec_query = Calls{*runnable_kernels()[0], part, count, heads}.query(q);
  for (const KernelTable* table : runnable_kernels()) {
    const Calls calls{*table, part, count, heads};
    const auto query = calls.query(q);
    for (size_t h = 0; h < query.size(); ++h) {
      EXPECT_EQ(std::memcmp(query[h].wide, spec_query[h].wide, sizeof query[h].wide), 0);
      EXPECT_EQ(std::memcmp(query[h].scales, spec_query[h].scales, sizeof query[h].scales), 0);
    }
    const auto logits = calls.score(q);
    for (int h = 0; h < heads; ++h) {
      float most = 0;
      double magnitude = 0;
      for (int d = 0; d < dim; ++d) {
        most = std::max(most, std::abs(q[static_cast<size_t>(h * padded + d)]));
        magnitude += std::abs(q[static_cast<size_t>(h * padded + d)]) * 3.0;
      }
      const double step = most / (wide(part.shape) ? 8191.0 : 127.0);
      for (int t = 0; t < kBlockTokens; ++t) {
        const auto at = static_cast<size_t>(h * kBlockTokens + t);
        ASSERT_NEAR(logits[at], spec[at], 1e-6 * magnitude) << table->name;
        if (t >= count) {
          ASSERT_EQ(logits[at], 12345.0f);
          continue;
        }
        double sum = 0;
        for (int d = 0; d < dim; ++d)
          sum += static_cast<double>(q[static_cast<size_t>(h * padded + d)]) * part.at(t, d);
        ASSERT_NEAR(logits[at], sum, 0.5 * step * dim * kHalfSpan + 2e-6 * magnitude);
      }
    }
  }
}

void check_accumulate(const TestPart& part, int count, int heads) {
  Rng rng(6);
  const auto weights = random_weights(heads, rng);
  const int dim = part.shape.head_dim;
  const auto spec = Calls{*runnable_kernels()[0], part, count, heads}.accumulate(weights);
  // f = weight * scale <= 1.5 / levels, rounded to 1/127 of its largest.
  const double bound = 0.5 * count * kHalfSpan / (wide(part.shape) ? 8191.0 : 127.0) + 1e-5 * count;
  for (const KernelTable* table : runnable_kernels()) {
    const auto out = Calls{*table, part, count, heads}.accumulate(weights);
    for (int h = 0; h < heads; ++h)
      for (int d = 0; d < dim + 3; ++d) {
        const auto at = static_cast<size_t>(h * (dim + 3) + d);
        ASSERT_NEAR(out[at], spec[at], 3e-6 * count) << table->name;
        double sum = 0.5;
        if (d < dim)
          for (int t = 0; t < count; ++t)
            sum += weights[static_cast<size_t>(h * kBlockTokens + t)] * part.at(t, d);
        ASSERT_NEAR(out[at], sum, d < dim ? bound : 0.0) << table->name;
      }
  }
}

TEST(AttendCodes, EveryTableEqualsTheSpecificationWithinTheRoundingBound) {
  constexpr int kCounts[] = {64, 1, 15, 16, 17, 63, 40};
  int i = 0;
  for_each_part([&](const PartShape& shape, Side side) {
    if (shape.groups == 0 || by_channel(shape.id)) return;
    const TestPart part = random_part(shape, side, 3);
    const int count = kCounts[i % 7], heads = 1 + (i * 5) % 16;
    ++i;
    if (side == Side::key)
      check_scores(part, count, heads);
    else
      check_accumulate(part, count, heads);
  });
}

TEST(AttendCodes, NoTokensChangeNothing) {
  for (int id = 1; id < kLayouts; ++id) {
    if (by_channel(static_cast<LayoutId>(id))) continue;
    const PartShape shape = part_shape({static_cast<LayoutId>(id), kGroupToken}, 24);
    check_scores(random_part(shape, Side::key, 1), 0, 3);
    check_accumulate(random_part(shape, Side::value, 1), 0, 3);
  }
}

// A block far below the maximum of a softmax has weights whose inverse float32 cannot hold.
TEST(AttendCodes, WeightsNextToNothingAddNothingButStayFinite) {
  for (const char* name : {"u2", "u3", "u4", "u5", "u8", "s5gt", "s4g32", "s3gt", "s8g32", "c4"}) {
    const PartShape shape = part_shape(*parse_layout(name), 64);
    const TestPart part = random_part(shape, Side::value, 4);
    for (const float weight : {0.0f, 1e-44f, 1.2e-38f, 1e-35f, 1e-31f})
      for (const KernelTable* table : runnable_kernels()) {
        const std::vector<float> weights(2 * kBlockTokens, weight);
        std::vector<float> out(2 * 64, 1.0f);
        table->accumulate_codes[static_cast<int>(shape.id)](shape, part.bytes.data(), nullptr, 40,
                                                            weights.data(), 2, out.data(), 64);
        for (float x : out) ASSERT_EQ(x, 1.0f) << table->name << " " << name << " " << weight;
      }
  }
}

// Scale 1, minimum 0 and integral factors: results are the integer sums themselves. Half of the
// codes are the largest there is, which is what could saturate.
TEST(AttendCodes, IntegerSumsAreExactAtTheirLargest) {
  for (int id = 1; id < kLayouts; ++id) {
    if (by_channel(static_cast<LayoutId>(id))) continue;
    const PartShape shape = part_shape({static_cast<LayoutId>(id), kGroupToken}, 256);
    const float most = wide(shape) ? 8191.0f : 127.0f;
    for (const Side side : {Side::key, Side::value}) {
      TestPart part{shape, AlignedBuffer<std::byte>(shape.bytes()), {}};
      Rng rng(9);
      for (int slot = 0; slot < kBlockTokens; ++slot) {
        RowCodes row = random_codes(rng, shape);
        for (int d = 0; d < shape.head_dim; ++d)
          if (slot < 32) row.codes[d] = static_cast<uint8_t>((1 << layout_bits(shape.id)) - 1);
        row.scales[0] = 0x3c00;
        row.minima[0] = 0;
        put_row(shape, side, part.bytes.data(), slot, row);
        append_values(shape, side, part.bytes.data(), slot, &part.values);
      }
      std::vector<float> factors(static_cast<size_t>(2 * shape.padded_dim), most);
      for (size_t i = factors.size() / 2; i < factors.size(); ++i)
        factors[i] = static_cast<float>(rng.below(static_cast<uint64_t>(most)) + 1);
      for (const KernelTable* table : runnable_kernels()) {
        const Calls calls{*table, part, kBlockTokens, 2};
        const auto got = side == Side::key ? calls.score(factors) : calls.accumulate(factors);
        const int outputs = side == Side::key ? kBlockTokens : shape.head_dim;
        const int terms = side == Side::key ? shape.head_dim : kBlockTokens;
        // The row of weights is [64], of a query [padded_dim].
        const int stride = side == Side::key ? shape.padded_dim : kBlockTokens;
        for (int h = 0; h < (side == Side::key ? 1 : 2); ++h)
          for (int o = 0; o < outputs; ++o) {
            double sum = side == Side::key ? 0 : 0.5;
            for (int t = 0; t < terms; ++t)
              sum += static_cast<double>(factors[static_cast<size_t>(h * stride + t)]) *
                     (side == Side::key ? part.at(o, t) : part.at(t, o));
            const int got_stride = side == Side::key ? kBlockTokens : shape.head_dim + 3;
            // 14-bit factors give sums past 2^24, where float rounds.
            ASSERT_NEAR(got[static_cast<size_t>(h * got_stride + o)], sum,
                        wide(shape) ? 2e-7 * terms * most * 255 : 0.0)
                << table->name << " layout " << id << " h " << h << " o " << o;
          }
      }
    }
  }
}

}  // namespace
}  // namespace kvkeep
