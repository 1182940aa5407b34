#include "eval/bench/compress.h"

#include <algorithm>
#include <memory>

#include "attention/prefill_attention.h"
#include "base/fail.h"
#include "eval/measure.h"
#include "kvkeep/session.h"

namespace kvkeep::bench {
namespace {

constexpr int kHeadDim = 128, kGqa = 4;

// Rows that go down at once: a prompt's, or, while decoding, those of as many batches as fill a
// block, each when as many new rows have come.
struct EncodeCase {
  EncodeRow row;
  Plan plan;
  SyntheticShape shape;
  int batches;
  std::vector<double> rates;
};

constexpr int kDecodeBatch = 16, kDecodeWindow = kBlockTokens;  // newest rows that stay

Result<EncodeCase> make_encode_case(const LayoutPair& pair, bool decode) {
  auto plan = plan_of(pair, "", decode ? kDecodeWindow : 0);
  if (!plan) return tl::unexpected(plan.error());
  const int rows = decode ? kDecodeBatch : 4096;
  const SyntheticShape shape{1, decode ? 64 : 4, kHeadDim, rows + (decode ? kDecodeWindow : 0)};
  return EncodeCase{{pair, rows, {}}, *std::move(plan), shape, decode ? 4 : 1, {}};
}

Result<double> encode_once(const EncodeCase& c) {
  auto made = SyntheticCache::make_exact(c.plan, c.shape);
  if (!made) return tl::unexpected(made.error());
  SyntheticCache& cache = **made;
  const auto next = random_rows(2, kHeadDim, 5);
  double seconds = 0;
  int tokens = c.shape.tokens;
  for (int batch = 0; batch < c.batches; ++batch) {
    for (int i = 0; batch > 0 && i < c.row.rows; ++i, ++tokens)
      for (int head = 0; head < c.shape.kv_heads; ++head)
        KVKEEP_TRY(cache.pipeline().append(&cache.cache(), {0, head}, tokens, next.data(),
                                           next.data() + kHeadDim));
    seconds += cpu_seconds_of([&] {
      for (int head = 0; head < c.shape.kv_heads; ++head)
        cache.pipeline().demote(&cache.cache(), {0, head}, 0, tokens, true);
    });
  }
  const double rows = static_cast<double>(c.row.rows) * c.batches * c.shape.kv_heads;
  return 1e-9 * 2 * kHeadDim * rows / seconds;
}

// The rows of a cache after a flush: every level at its quota.
void demote_all(SyntheticCache* cache) {
  for (int level = 0; level < cache->cache().levels(); ++level)
    for (int layer = 0; layer < cache->shape().layers; ++layer)
      for (int head = 0; head < cache->shape().kv_heads; ++head)
        cache->pipeline().demote(&cache->cache(), {layer, head}, level, cache->shape().tokens,
                                 true);
}

// Query rows, and room for their outputs.
struct Queries {
  AlignedBuffer<float> q, out;

  explicit Queries(int rows) {
    const auto values = random_rows(static_cast<size_t>(rows), kHeadDim, 4);
    q.resize(values.size());
    out.resize(values.size());
    std::copy(values.begin(), values.end(), q.data());
  }
};

// A past under some plan, read by a slice.
struct SliceCase {
  LayoutPair layouts;
  std::unique_ptr<SyntheticCache> cache;
  PrefillAttention attention;
  std::vector<double> seconds;
};

Result<std::unique_ptr<SliceCase>> make_slice_case(const LayoutPair& layouts, int past,
                                                   int queries) {
  const auto plan = plan_of(layouts);
  if (!plan) return tl::unexpected(plan.error());
  constexpr int kKvHeads = 2;
  auto cache = SyntheticCache::make(*plan, {1, kKvHeads, kHeadDim, past});
  if (!cache) return tl::unexpected(cache.error());
  const auto rows = random_rows(2, kHeadDim, 5);
  for (int head = 0; head < kKvHeads; ++head)
    for (int t = 0; t < queries; ++t)
      KVKEEP_TRY((*cache)->pipeline().append(&(*cache)->cache(), {0, head}, past + t, rows.data(),
                                             rows.data() + kHeadDim));
  const HeadCounts heads{kKvHeads, kGqa, kHeadDim};
  const Pipeline* pipeline = &(*cache)->pipeline();
  return std::unique_ptr<SliceCase>(
      new SliceCase{layouts, *std::move(cache), PrefillAttention(pipeline, heads), {}});
}

// Reads of one plan in one phase; the case after it reads the same cache by the same plan with a
// scorer that sees nothing.
struct ScoreCase {
  ScoreRow row;
  std::unique_ptr<SyntheticCache> cache;
  Sequence* read = nullptr;
  std::unique_ptr<DecodeAttention> decode;
  std::unique_ptr<PrefillAttention> prefill;
  int queries = 1;
  std::vector<double> seconds;
};

Result<ScoreCase> make_score_case(const std::string& text, const char* phase, int context,
                                  int threads) {
  const auto plan = Plan::parse(text);
  if (!plan) return tl::unexpected(plan.error());
  const bool decode = std::string(phase) == "decode";
  const SyntheticShape shape{decode ? 2 : 1, decode ? 8 : 2, kHeadDim, context};
  auto cache = SyntheticCache::make_exact(*plan, shape);
  if (!cache) return tl::unexpected(cache.error());
  if (decode) demote_all(cache->get());
  ScoreCase made{{text, phase, context, threads, {}}, *std::move(cache), nullptr, {}, {}, 1, {}};
  made.read = &made.cache->cache();
  const HeadCounts heads{shape.kv_heads, kGqa, kHeadDim};
  if (decode) {
    made.decode = std::make_unique<DecodeAttention>(&made.cache->pipeline(), heads);
  } else {
    made.prefill = std::make_unique<PrefillAttention>(&made.cache->pipeline(), heads);
    made.queries = std::min(256, context);
  }
  return made;
}

double score_once(ScoreCase* c, ThreadPool* pool) {
  const SyntheticShape& shape = c->cache->shape();
  Queries queries(c->queries * shape.kv_heads * kGqa);
  return pool_seconds_of(*pool, [&] {
    for (int layer = 0; layer < shape.layers; ++layer)
      if (c->decode)
        c->decode->attend(c->read, layer, queries.q.data(), queries.out.data(), pool);
      else
        c->prefill->attend(c->read, layer, c->queries, queries.q.data(), queries.out.data(), pool);
  });
}

// A plan that keeps all would rank nothing and so see nothing.
struct ScorePlan {
  const char *phase, *plan, *blind;  // blind: the same with a scorer that sees nothing
};
constexpr ScorePlan kScorePlans[] = {
    {"decode", "h2o:keep=0.99", "h2o:keep=0.99,scorer=recency"},
    {"decode", "mikv-h2o", "mikv-h2o:scorer=recency"},
    {"prefill", "h2o:keep=0.99", "h2o:keep=0.99,scorer=recency"},
    {"prefill", "snapkv:keep=0.99", "snapkv:keep=0.99,scorer=recency"},
};

std::vector<LayoutPair> coded(const std::vector<LayoutPair>& layouts) {
  std::vector<LayoutPair> some;
  for (const LayoutPair& pair : layouts)
    if (!pair.exact()) some.push_back(pair);
  return some;
}

}  // namespace

Result<bool> bench_encode(const CompressOptions& options, const Tick& tick,
                          std::vector<EncodeRow>* rows) {
  std::vector<EncodeCase> cases;
  for (const LayoutPair& pair : coded(options.layouts))
    for (bool decode : {false, true}) {
      auto made = make_encode_case(pair, decode);
      if (!made) return tl::unexpected(made.error());
      cases.push_back(*std::move(made));
    }
  for (int round = -1; round < options.rounds; ++round)
    for (EncodeCase& c : cases) {
      const auto rate = encode_once(c);
      if (!rate) return tl::unexpected(rate.error());
      if (!tick()) return false;
      if (round >= 0) c.rates.push_back(*rate);
    }
  for (EncodeCase& c : cases) {
    c.row.g_values_per_s = spread_of(c.rates);
    rows->push_back(c.row);
  }
  return true;
}

Result<bool> bench_prompt(const CompressOptions& options, const Model& model, const Tick& tick,
                          std::vector<PromptRow>* rows) {
  const int n = std::min(options.prompt, model.info().context);
  const auto tokens = random_tokens(model.info().vocab, n, 1);
  const size_t plans = options.plans.size();
  std::vector<std::vector<double>> shares(plans), seconds(plans);
  for (int round = 0; round < options.rounds; ++round)
    for (size_t i = 0; i < plans; ++i) {
      const auto plan = Plan::parse(options.plans[i]);
      if (!plan) return tl::unexpected(plan.error());
      auto session = Session::create(model, *plan, {options.threads, 0});
      if (!session) return tl::unexpected(session.error());
      Result<void> fed, compressed;
      const double feed =
          clock_seconds_of(CLOCK_PROCESS_CPUTIME_ID, [&] { fed = session->feed(tokens); });
      const double compress =
          clock_seconds_of(CLOCK_PROCESS_CPUTIME_ID, [&] { compressed = session->compress(); });
      if (!fed) return tl::unexpected(fed.error());
      if (!compressed) return tl::unexpected(compressed.error());
      if (!tick()) return false;
      shares[i].push_back(compress / (feed + compress));
      seconds[i].push_back(compress);
    }
  for (size_t i = 0; i < plans; ++i)
    rows->push_back({options.plans[i], n, spread_of(shares[i]), spread_of(seconds[i])});
  return true;
}

Result<bool> bench_slices(const CompressOptions& options, const Tick& tick,
                          std::vector<SliceRow>* rows) {
  ThreadPool pool(options.threads);
  std::vector<LayoutPair> layouts = coded(options.layouts);
  layouts.insert(layouts.begin(), LayoutPair{});
  for (int slice : options.slices) {
    std::vector<std::unique_ptr<SliceCase>> cases;
    for (const LayoutPair& pair : layouts) {
      auto made = make_slice_case(pair, options.past, slice);
      if (!made) return tl::unexpected(made.error());
      cases.push_back(*std::move(made));
    }
    const int q_heads = cases[0]->cache->shape().kv_heads * kGqa;
    Queries queries(slice * q_heads);
    for (int round = -1; round < options.rounds; ++round)
      for (const auto& c : cases) {
        const double seconds = pool_seconds_of(pool, [&] {
          c->attention.attend(&c->cache->cache(), 0, slice, queries.q.data(), queries.out.data(),
                              &pool);
        });
        if (!tick()) return false;
        if (round >= 0) c->seconds.push_back(seconds);
      }
    const double pairs = 1e-9 * q_heads * slice * (options.past + 0.5 * (slice + 1));
    for (const auto& c : cases) {
      std::vector<double> rates;
      for (double seconds : c->seconds) rates.push_back(pairs / seconds);
      rows->push_back({c->layouts, slice, options.past, pool.size(), spread_of(rates),
                       ratio_of(cases[0]->seconds, c->seconds)});
    }
  }
  return true;
}

Result<bool> bench_scores(const CompressOptions& options, const Tick& tick,
                          std::vector<ScoreRow>* rows) {
  ThreadPool pool(options.threads);
  for (int context : options.contexts) {
    std::vector<ScoreCase> cases;  // in pairs: seeing, blind
    for (const ScorePlan& plan : kScorePlans)
      for (const char* text : {plan.plan, plan.blind}) {
        auto made = make_score_case(text, plan.phase, context, pool.size());
        if (!made) return tl::unexpected(made.error());
        cases.push_back(*std::move(made));
        if (text == plan.blind) cases.back().read = cases[cases.size() - 2].read;
      }
    // All that see, then all that do not: a pair reads one cache, and whoever came right after the
    // other would find it in the processor's.
    const size_t pairs = cases.size() / 2;
    for (int round = -1; round < options.rounds; ++round)
      for (size_t i = 0; i < cases.size(); ++i) {
        ScoreCase& c = cases[i < pairs ? 2 * i : 2 * (i - pairs) + 1];
        const double seconds = score_once(&c, &pool);
        if (!tick()) return false;
        if (round >= 0) c.seconds.push_back(seconds);
      }
    for (size_t i = 0; i < cases.size(); i += 2) {
      const Spread ratio = ratio_of(cases[i].seconds, cases[i + 1].seconds);
      cases[i].row.extra = {ratio.median - 1, ratio.min - 1, ratio.max - 1};
      rows->push_back(cases[i].row);
    }
  }
  return true;
}

Result<CompressResult> bench_compress(const CompressOptions& options, const Model& model,
                                      const ProgressFn& progress) {
  const size_t layouts = coded(options.layouts).size();
  const size_t rounds = static_cast<size_t>(options.rounds) + 1;
  const auto ticks = [&](const char* part, size_t n) { return options.wants(part) ? n : 0; };
  const auto total = static_cast<double>(
      ticks("encode", rounds * 2 * layouts) +
      ticks("prompt", static_cast<size_t>(options.rounds) * options.plans.size()) +
      ticks("slices", rounds * options.slices.size() * (layouts + 1)) +
      ticks("scores", rounds * 2 * std::size(kScorePlans) * options.contexts.size()) +
      ticks("reads", rounds * chunk_read_plans().size() * options.contexts.size()) +
      ticks("crush", rounds * 4));
  double done = 0;
  const Tick tick = [&] { return !progress || progress(++done, total); };
  CompressResult result;
  Result<bool> all = true;
  const auto part = [&](const char* name, const auto& run) {
    if (all && *all && options.wants(name)) all = run();
  };
  part("encode", [&] { return bench_encode(options, tick, &result.encode); });
  part("prompt", [&] { return bench_prompt(options, model, tick, &result.prompt); });
  part("slices", [&] { return bench_slices(options, tick, &result.slices); });
  part("scores", [&] { return bench_scores(options, tick, &result.scores); });
  part("reads", [&] { return bench_reads(options, tick, &result.reads); });
  part("crush", [&] { return bench_crush(options, tick, &result.crush); });
  part("crush", [&] { return bench_crush_step(options, tick, &result.crush_steps); });
  if (!all) return tl::unexpected(all.error());
  result.interrupted = !*all;
  return result;
}

}  // namespace kvkeep::bench
