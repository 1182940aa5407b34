// Part reads: what unpacking chunks costs beside the attention that reads them.
#include <memory>

#include "attention/decode_attention.h"
#include "base/fail.h"
#include "base/rng.h"
#include "codec/chunk_tier.h"
#include "eval/bench/compress.h"

namespace kvkeep::bench {
namespace {

constexpr ChunkShape kShape{2, 8, 128};  // layer 1 is measured: layer 0 is predicted from nothing
constexpr int kGqa = 4, kLayer = 1;
constexpr SyntheticShape synthetic(int tokens) {
  return {kShape.layers, kShape.kv_heads, kShape.head_dim, tokens, kGqa};
}

RopeConfig rope_config() {
  RopeConfig rope;
  rope.dim = kShape.head_dim;
  return rope;
}

// Rows around 1, and maps that predict that and hardly more: time does not depend on what weights
// are, but on a worse prediction chunks would fall back to their own mean.
float around_one(Rng* rng) { return 1 + rng->normal(); }

Calibration made_up(const Plan& plan) {
  const PredictorForm form = make_predictor(plan.slot("predictor"));
  Calibration made({1, calibration_plan(plan), kShape.layers, kShape.kv_heads, kShape.head_dim},
                   form);
  const std::vector<float> bias(static_cast<size_t>(kShape.width()), 1.0f);
  Rng rng(1);
  for (int layer = 0; layer < kShape.layers; ++layer)
    for (const Side side : {Side::key, Side::value}) {
      const MapShape shape = form.shape(layer, side, kShape.kv_heads, kShape.head_dim);
      const int rows = shape.sources * shape.width;
      const int size =
          shape.rank > 0 ? (rows + shape.width) * shape.rank : rows * shape.width;  // A, B; or W
      std::vector<float> weights(static_cast<size_t>(size));
      for (float& w : weights) w = 1e-4f * rng.normal();
      made.set_map(layer, side, AffineMap(shape, weights, bias));
    }
  return made;
}

Result<ChunkTier> make_tier(const Plan& plan, int tokens, ThreadPool* pool) {
  auto codec = ChunkCodec::make(plan, kShape, std::make_shared<const Calibration>(made_up(plan)));
  if (!codec) return tl::unexpected(codec.error());
  ChunkTier tier(std::make_shared<const ChunkCodec>(*std::move(codec)), rope_config());
  std::vector<int32_t> positions;
  for (int t = 0; t < tokens; ++t) positions.push_back(t);
  const Rope rope(rope_config());
  const auto read = [&](int layer, int first, int count, float* keys, float* values) {
    Rng rng(static_cast<uint64_t>(first * kShape.layers + layer));
    for (int i = 0; i < count * kShape.width(); ++i) keys[i] = around_one(&rng);
    for (int i = 0; i < count * kShape.width(); ++i) values[i] = around_one(&rng);
    for (int i = 0; i < count * kShape.kv_heads; ++i)
      rope.apply(keys + static_cast<ptrdiff_t>(i) * kShape.head_dim, first + i / kShape.kv_heads);
  };
  KVKEEP_TRY(tier.append(positions, 128, read, pool));
  return tier;
}

// One read of kLayer by one token.
struct Reader {
  std::unique_ptr<SyntheticCache> cache;
  DecodeAttention attention;
  std::vector<float> q, out;

  static Result<std::unique_ptr<Reader>> make(const Plan& plan, int tokens, bool exact) {
    auto cache = exact ? SyntheticCache::make_exact(plan, synthetic(tokens))
                       : SyntheticCache::make(plan, synthetic(tokens));
    if (!cache) return tl::unexpected(cache.error());
    const Pipeline* pipeline = &(*cache)->pipeline();
    auto q = random_rows(kShape.kv_heads * kGqa, kShape.head_dim, 3);
    auto out = q;
    return std::unique_ptr<Reader>(new Reader{
        *std::move(cache), DecodeAttention(pipeline, {kShape.kv_heads, kGqa, kShape.head_dim}),
        std::move(q), std::move(out)});
  }

  double seconds(ThreadPool* pool, const ChunkTier* tier = nullptr) {
    return pool_seconds_of(*pool, [&] {
      attention.attend(&cache->cache(), kLayer, q.data(), out.data(), pool, tier);
    });
  }
};

struct Seconds {
  std::vector<double> unpack, attend, total, f16, u4;
};

ChunkReadRow row_of(const std::string& plan, int context, const ThreadPool& pool,
                    const Seconds& s) {
  return {plan,
          context,
          pool.size(),
          spread_of(s.unpack),
          spread_of(s.attend),
          ratio_of(s.total, s.f16),
          ratio_of(s.total, s.u4)};
}

}  // namespace

const std::vector<std::string>& chunk_read_plans() {
  static const std::vector<std::string> plans = {"aqua2:predictor=mean",
                                                 "aqua2:predictor=v_from_k",
                                                 "aqua2:predictor=cross_layer:form=per_head",
                                                 "aqua2:predictor=cross_layer:rank=64",
                                                 "aqua2",
                                                 "aqua2-hot:sinks=0"};
  return plans;
}

Result<bool> bench_reads(const CompressOptions& options, const Tick& tick,
                         std::vector<ChunkReadRow>* rows) {
  ThreadPool pool(options.threads);
  for (const int context : options.contexts) {
    auto f16 = Reader::make(*plan_of(LayoutPair{}), context, false);
    if (!f16) return tl::unexpected(f16.error());
    auto u4 = Reader::make(*plan_of(*parse_layout_pair("u4")), context, false);
    if (!u4) return tl::unexpected(u4.error());
    for (const std::string& text : chunk_read_plans()) {
      const auto plan = Plan::parse(text);
      if (!plan) return tl::unexpected(plan.error());
      const bool chunks = plan->slot("low").method == "chunk";
      auto reader = Reader::make(*plan, chunks ? 1 : context, chunks);
      if (!reader) return tl::unexpected(reader.error());
      std::unique_ptr<ChunkTier> tier;
      if (chunks) {
        auto made = make_tier(*plan, context, &pool);
        if (!made) return tl::unexpected(made.error());
        tier = std::make_unique<ChunkTier>(*std::move(made));
      }
      Seconds s;
      for (int round = -1; round < options.rounds; ++round) {
        double unpack = 0;
        if (tier) {
          tier->read_layer(kLayer - 1, &pool);
          unpack = pool_seconds_of(pool, [&] { tier->read_layer(kLayer, &pool); });
        }
        const double attend = (*reader)->seconds(&pool, tier.get());
        const double exact = (*f16)->seconds(&pool), coded = (*u4)->seconds(&pool);
        if (!tick()) return false;
        if (round < 0) continue;
        s.unpack.push_back(unpack);
        s.attend.push_back(attend);
        s.total.push_back(unpack + attend);
        s.f16.push_back(exact);
        s.u4.push_back(coded);
      }
      rows->push_back(row_of(text, context, pool, s));
    }
  }
  return true;
}

}  // namespace kvkeep::bench
