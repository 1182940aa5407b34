#include "eval/bench/synthetic.h"

#include <algorithm>
#include <cstring>

#include "base/fail.h"
#include "base/rng.h"

namespace kvkeep::bench {
namespace {

constexpr int kPrototypeBlocks = 8;

// A cache of one head whose last level holds kPrototypeBlocks full blocks.
Result<void> make_prototype(Pipeline* pipeline, int head_dim, bool compressed, Sequence* cache) {
  constexpr int kTokens = kPrototypeBlocks * kBlockTokens;
  const auto rows = random_rows(2 * kTokens, head_dim, 1);
  for (int t = 0; t < kTokens; ++t) {
    const float* row = rows.data() + static_cast<ptrdiff_t>(2 * t) * head_dim;
    KVKEEP_TRY(pipeline->append(cache, {0, 0}, t, row, row + head_dim));
  }
  if (!compressed) return {};
  for (int level = 0; level + 1 < cache->levels(); ++level)
    pipeline->demote(cache, {0, 0}, level, kTokens, true);
  return {};
}

void fill(Tier* tier, const Tier& prototype, int tokens) {
  const TierShape& shape = tier->shape();
  for (int t = 0; t < tokens; ++t) {
    const int slot = tier->append(t, 0.0f);
    if (slot % kBlockTokens != 0) continue;
    const int block = slot / kBlockTokens;
    std::memcpy(tier->k_part(block), prototype.k_part(block % prototype.blocks()),
                shape.k_bytes + shape.v_bytes);
  }
}

}  // namespace

std::string LayoutPair::name() const {
  return k == v ? layout_name(k) : layout_name(k) + "/" + layout_name(v);
}

Result<LayoutPair> parse_layout_pair(const std::string& text) {
  const size_t slash = text.find('/');
  const auto k = parse_layout(text.substr(0, slash));
  if (!k) return tl::unexpected(k.error());
  if (slash == std::string::npos) return LayoutPair{*k, *k};
  const auto v = parse_layout(text.substr(slash + 1));
  if (!v) return tl::unexpected(v.error());
  if (*k != *v && (k->id == LayoutId::f16 || v->id == LayoutId::f16))
    return bad_input("layouts '{}': f16 stands for keys and values or for neither", text);
  return LayoutPair{*k, *v};
}

Result<Plan> plan_of(const LayoutPair& layouts, const std::string& attend, int window) {
  const std::string end = attend.empty() ? "" : ";attend=" + attend;
  if (layouts.exact())
    return Plan::parse("scorer=recency;budget=uniform:keep=1;high=f16;low=drop" + end);
  const bool codebook = layout_kind(layouts.k.id) == LayoutKind::codebook;
  return Plan::parse(fmt::format(
      "scorer=recency;budget=uniform:keep=0,window={};high=f16;low={}:k={},v={}{}", window,
      codebook ? "grid" : "rtn", layout_name(layouts.k), layout_name(layouts.v), end));
}

std::vector<float> random_rows(size_t count, int head_dim, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> rows(count * static_cast<size_t>(head_dim));
  for (float& x : rows) x = rng.normal();
  return rows;
}

Result<std::unique_ptr<SyntheticCache>> SyntheticCache::make_filled(const Plan& plan,
                                                                    const SyntheticShape& shape,
                                                                    bool compressed) {
  RopeConfig rope;
  rope.dim = shape.head_dim;
  const int context = std::max(shape.tokens, kPrototypeBlocks * kBlockTokens);
  auto pipeline = Pipeline::make(plan, {shape.layers, shape.kv_heads, shape.head_dim, context,
                                        std::move(rope), shape.gqa_ratio});
  if (!pipeline) return tl::unexpected(pipeline.error());
  std::unique_ptr<SyntheticCache> made(new SyntheticCache(*std::move(pipeline), shape));
  Sequence prototype(1, 1, made->pipeline_.tier_shapes());
  KVKEEP_TRY(make_prototype(&made->pipeline_, shape.head_dim, compressed, &prototype));
  const int level = compressed ? made->cache_.levels() - 1 : 0;
  const auto newest = random_rows(2, shape.head_dim, 2);
  for (int layer = 0; layer < shape.layers; ++layer)
    for (int head = 0; head < shape.kv_heads; ++head) {
      const int tokens = shape.tokens - (level > 0 ? 1 : 0);
      fill(&made->cache_.tier(layer, head, level), prototype.tier(0, 0, level), tokens);
      made->cache_.tier(layer, head, level).settle();
      if (level > 0)
        KVKEEP_TRY(made->pipeline_.append(&made->cache_, {layer, head}, tokens, newest.data(),
                                          newest.data() + shape.head_dim));
    }
  return made;
}

Result<std::unique_ptr<SyntheticCache>> SyntheticCache::make(const Plan& plan,
                                                             const SyntheticShape& shape) {
  return make_filled(plan, shape, true);
}

Result<std::unique_ptr<SyntheticCache>> SyntheticCache::make_exact(const Plan& plan,
                                                                   const SyntheticShape& shape) {
  return make_filled(plan, shape, false);
}

double token_bytes(const LayoutPair& layouts, int head_dim) {
  const size_t block =
      part_shape(layouts.k, head_dim).bytes() + part_shape(layouts.v, head_dim).bytes();
  return static_cast<double>(block) / kBlockTokens;
}

}  // namespace kvkeep::bench
