#include "engine/cache_report.h"

#include <algorithm>

namespace kvkeep {
namespace {

struct Sums {
  size_t exact = 0, codes = 0, scales = 0;
};

void add_part(const PartShape& shape, size_t slots, Sums* sums) {
  const size_t code = kBlockTiles * (shape.tile_code_bytes + shape.tile_mask_bytes) / kBlockTokens;
  const size_t side = kBlockTiles * shape.tile_side_bytes / kBlockTokens;
  (layout_kind(shape.id) == LayoutKind::exact ? sums->exact : sums->codes) += slots * code;
  sums->scales += slots * side;
}

std::string part_name(const PartShape& shape) { return layout_name({shape.id, shape.group}); }

// Tokens the least well kept (layer, kv_head) can still read.
int64_t least_readable(const CompressedAttention& site) {
  int64_t least = site.tokens();
  for (int layer = 0; layer < site.shape().layers; ++layer)
    for (int head = 0; head < site.shape().kv_heads; ++head) {
      int64_t tokens = 0;
      for (int level = 0; level < site.cache().levels(); ++level)
        tokens += site.cache().tier(layer, head, level).size();
      if (site.chunks()) tokens += site.chunks()->rows();
      least = std::min(least, tokens);
    }
  return least;
}

// Newest tokens that are exact in every head: all heads pin the same or the first
// the fewest, and some may hold all tokens.
int exact_window(const CompressedAttention& site) {
  bool all = true;
  for (int layer = 0; layer < site.shape().layers; ++layer)
    for (int head = 0; head < site.shape().kv_heads; ++head)
      all &= site.pipeline().quota({layer, head}, site.tokens()).exact == site.tokens();
  return site.tokens() - (all ? 0 : site.pipeline().quota({}, site.tokens()).first_exact);
}

Sums sum_parts(const CompressedAttention& site) {
  Sums sums;
  for (int layer = 0; layer < site.shape().layers; ++layer)
    for (int head = 0; head < site.shape().kv_heads; ++head)
      for (int level = 0; level < site.cache().levels(); ++level) {
        const auto slots = static_cast<size_t>(site.cache().tier(layer, head, level).size());
        const Level& shape = site.pipeline().levels()[static_cast<size_t>(level)];
        add_part(shape.k, slots, &sums);
        add_part(shape.v, slots, &sums);
      }
  return sums;
}

void fill_breakdown(const CompressedAttention& site, CacheReport* report) {
  Sums sums = sum_parts(site);
  CacheUsage usage = site.cache().usage();
  report->shared_bytes = site.shared_bytes();
  if (const ChunkTier* chunks = site.chunks()) {
    sums.codes += chunks->code_bytes();
    sums.scales += chunks->scale_bytes();
    usage.tables += chunks->bytes() - chunks->code_bytes() - chunks->scale_bytes();
    usage.forked += chunks->shared_chunk_bytes();
  }
  report->breakdown = {{"exact", sums.exact},
                       {"codes", sums.codes},
                       {"scales", sums.scales},
                       {"positions", usage.positions},
                       {"scores", usage.scores},
                       {"slack", usage.slack},
                       {"tables", usage.tables},
                       {"transform", site.pipeline().transform_bytes()},
                       {"statistics", site.pipeline().statistics_bytes()},
                       {"shared", report->shared_bytes}};
  for (const auto& part : report->breakdown) report->bytes += part.bytes;
  report->forked_bytes = usage.forked;
}

void fill_layers(const CompressedAttention& site, CacheReport* report) {
  for (int layer = 0; layer < site.shape().layers; ++layer) {
    LayerReport entry{tier_reports(site, layer, layer + 1), 0};
    for (int head = 0; head < site.shape().kv_heads; ++head)
      for (int level = 0; level < site.cache().levels(); ++level) {
        const Tier& tier = site.cache().tier(layer, head, level);
        entry.bytes += static_cast<size_t>(tier.blocks()) * tier.shape().block_bytes();
      }
    if (const ChunkTier* chunks = site.chunks())
      for (const auto& chunk : chunks->chunks())
        for (const Side side : {Side::key, Side::value})
          entry.bytes += chunks->codec().side_bytes(layer, side, chunk->rows, chunk->fine);
    report->layers.push_back(std::move(entry));
  }
}

}  // namespace

std::vector<TierReport> tier_reports(const CompressedAttention& site, int first, int last) {
  std::vector<TierReport> reports;
  const auto& levels = site.pipeline().levels();
  for (int level = 0; level < site.cache().levels(); ++level) {
    const Level& shape = levels[static_cast<size_t>(level)];
    double tokens = 0;
    for (int layer = first; layer < last; ++layer)
      for (int head = 0; head < site.shape().kv_heads; ++head)
        tokens += site.cache().tier(layer, head, level).size();
    reports.push_back({part_name(shape.k), part_name(shape.v),
                       tokens / ((last - first) * site.shape().kv_heads)});
  }
  if (const ChunkTier* chunks = site.chunks())
    reports.push_back({chunks->codec().quantizers().name(last - 1, Side::key),
                       chunks->codec().quantizers().name(last - 1, Side::value),
                       static_cast<double>(chunks->rows())});
  return reports;
}

CacheReport report_cache(const CompressedAttention& site, const Plan& plan, bool per_layer) {
  CacheReport report;
  const AttentionShape& shape = site.shape();
  report.plan = plan.canonical();
  report.preset = plan.typed();
  report.tokens = site.tokens();
  report.tiers = tier_reports(site, 0, shape.layers);
  report.readable_tokens = least_readable(site);
  report.exact_window = exact_window(site);
  report.sinks = site.pipeline().budget().sinks();
  fill_breakdown(site, &report);
  report.scratch_bytes = site.scratch_bytes();
  report.peak_bytes = std::max(site.peak_bytes(), report.bytes);
  report.paper_bits_per_value = site.pipeline().paper_bits_per_value(
      site.chunks() ? site.chunks()->codec().paper_bits_per_value() : 0);
  const double values = 2.0 * site.tokens() * shape.layers * shape.kv_heads * shape.head_dim;
  if (values > 0) {
    report.bits_per_value = 8.0 * static_cast<double>(report.bytes) / values;
    report.bits_per_value_marginal =
        8.0 * static_cast<double>(report.bytes - report.shared_bytes) / values;
    report.compression_factor = 16.0 / report.bits_per_value;
  }
  if (per_layer) fill_layers(site, &report);
  return report;
}

}  // namespace kvkeep
