// What choosing representatives costs: the steps of KVCrush on one core, and their share of a
// decode step.
#include "attention/decode_attention.h"
#include "base/fail.h"
#include "base/half.h"
#include "base/rng.h"
#include "codec/representatives/signature.h"
#include "eval/bench/compress.h"
#include "kernels/isa.h"
#include "kernels/planes.h"

namespace kvkeep::bench {
namespace {

constexpr int kHeadDim = 128, kGqa = 4, kKvHeads = 8;
constexpr int64_t kDim = 4096, kFfn = 14336;  // of a model with such heads
constexpr int64_t kLayerWeights =
    2 * kDim * kDim + 2 * kDim * kKvHeads * kHeadDim + 3 * kDim * kFfn;

// Signatures, distances and picks for `tokens` candidates, from scores as a layer holds them.
double select_once(const std::vector<uint16_t>& scores, int tokens, int heads) {
  const auto n = static_cast<size_t>(tokens);
  const auto anchor = fixed_anchor("random", static_cast<size_t>(heads), 0);
  const std::vector<uint64_t> all(n / 64, ~uint64_t{0});
  return cpu_seconds_of([&] {
    Signatures signatures(heads, tokens);
    for (size_t h = 0; h < static_cast<size_t>(heads); ++h) {
      const std::span<const uint16_t> own(scores.data() + h * n, n);
      plane_kernels().bits_above(own.data(), tokens, threshold_above(own, n / 2),
                                 signatures.plane(h));
    }
    keep(spread_over(signatures, anchor, all, n / 20, true).size());
  });
}

struct StepCase {
  std::unique_ptr<SyntheticCache> cache;
  std::vector<double> seconds;
};

Result<StepCase> make_step_case(const std::string& text, int context) {
  const auto plan = Plan::parse(text);
  if (!plan) return tl::unexpected(plan.error());
  auto made = SyntheticCache::make_exact(*plan, {1, kKvHeads, kHeadDim, context, kGqa});
  if (!made) return tl::unexpected(made.error());
  Rng rng(7);
  for (int h = 0; h < kKvHeads; ++h) {
    Tier& tier = (*made)->cache().tier(0, h, 0);
    for (int slot = 0; slot < tier.size(); ++slot)
      for (int lane = 0; lane <= tier.shape().head_scores; ++lane)
        tier.set_score(slot, rng.uniform(), lane);
  }
  return StepCase{*std::move(made), {}};
}

// Products of one token with a layer's weights, from those with 64 MiB of f16.
class LayerProducts {
 public:
  double once() {
    const double seconds = cpu_seconds_of(
        [&] { kernels().gemv_f16(weights_.data(), x_.data(), y_.data(), kRows, kDim); });
    return seconds * static_cast<double>(kLayerWeights) / static_cast<double>(kRows * kDim);
  }

 private:
  static constexpr int64_t kRows = 8192;
  std::vector<uint16_t> weights_ = std::vector<uint16_t>(kRows * kDim, f32_to_f16(0.01f));
  std::vector<float> x_ = std::vector<float>(kDim, 1.0f), y_ = std::vector<float>(kRows);
};

// The tokens of one batch enter and the same number leaves.
Result<double> batch_once(StepCase* c, int tokens) {
  constexpr int kBatch = 16;
  SyntheticCache& cache = *c->cache;
  const auto row = random_rows(2, kHeadDim, static_cast<uint64_t>(tokens));
  for (int h = 0; h < kKvHeads; ++h)
    for (int t = 0; t < kBatch; ++t)
      KVKEEP_TRY(cache.pipeline().append(&cache.cache(), {0, h}, tokens + t, row.data(),
                                         row.data() + kHeadDim));
  return cpu_seconds_of([&] {
    if (cache.pipeline().layer_level() == 0)
      return cache.pipeline().demote_layer(&cache.cache(), 0, tokens + kBatch, true);
    for (int h = 0; h < kKvHeads; ++h)
      cache.pipeline().demote(&cache.cache(), {0, h}, 0, tokens + kBatch, true);
  });
}

}  // namespace

Result<bool> bench_crush(const CompressOptions& options, const Tick& tick,
                         std::vector<CrushRow>* rows) {
  for (const auto& [tokens, heads] : {std::pair{16384, 32}, {131072, 32}, {131072, 128}}) {
    Rng rng(6);
    std::vector<uint16_t> scores(static_cast<size_t>(tokens) * static_cast<size_t>(heads));
    for (auto& score : scores) score = f32_to_f16(rng.uniform());
    std::vector<double> seconds;
    for (int round = -1; round < options.rounds; ++round) {
      const double once = select_once(scores, tokens, heads);
      if (!tick()) return false;
      if (round >= 0) seconds.push_back(once);
    }
    rows->push_back({tokens, heads, spread_of(seconds)});
  }
  return true;
}

Result<bool> bench_crush_step(const CompressOptions& options, const Tick& tick,
                              std::vector<CrushStepRow>* rows) {
  constexpr int kContext = 16384, kBatch = 16;
  auto crush = make_step_case("kvcrush:quota=fixed", kContext);
  if (!crush) return tl::unexpected(crush.error());
  auto base = make_step_case("snapkv:quota=fixed", kContext);
  if (!base) return tl::unexpected(base.error());
  ThreadPool pool(1);
  DecodeAttention attention(&crush->cache->pipeline(), {kKvHeads, kGqa, kHeadDim});
  const auto q = random_rows(kKvHeads * kGqa, kHeadDim, 8);
  std::vector<float> out(q.size());
  std::vector<double> shares, of_steps;
  LayerProducts products;
  crush->cache->pipeline().see_prompt(kContext);
  base->cache->pipeline().see_prompt(kContext);
  for (int round = -1; round < options.rounds; ++round) {
    const int tokens = kContext + (round + 1) * kBatch;
    const auto with = batch_once(&*crush, tokens), without = batch_once(&*base, tokens);
    if (!with) return tl::unexpected(with.error());
    if (!without) return tl::unexpected(without.error());
    const double read = cpu_seconds_of(
        [&] { attention.attend(&crush->cache->cache(), 0, q.data(), out.data(), &pool); });
    const double weights = products.once();
    if (!tick()) return false;
    if (round < 0) continue;
    const double choice = (*with - *without) / kBatch;
    shares.push_back(choice / read);
    of_steps.push_back(choice / (read + weights));
  }
  rows->push_back({"kvcrush", kContext, spread_of(shares), spread_of(of_steps)});
  return true;
}

}  // namespace kvkeep::bench
