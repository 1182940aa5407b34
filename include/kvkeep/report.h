// Where the bytes of a cache are. Everything resident is counted: codes, scales, exact rows,
// positions, scores, transform state, block lists, slack of blocks and runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace kvkeep {

struct TierReport {
  std::string layout_k, layout_v;  // "f16", "u2g32", ...
  double tokens = 0;               // mean over kv_heads (and layers, in the total)
};

struct LayerReport {
  std::vector<TierReport> tiers;
  size_t bytes = 0;  // blocks this layer owns
};

struct CacheReport {
  std::string plan, preset;            // canonical, as typed
  int64_t tokens = 0;                  // fed to the cache
  int64_t readable_tokens = 0;         // still attended by every (layer, kv_head)
  int exact_window = 0;                // newest tokens the plan pins exact, at this length
  int sinks = 0;                       // first tokens it pins exact
  size_t bytes = 0;                    // resident = sum of breakdown
  size_t shared_bytes = 0;             // of these, shared by all sequences of a model
  size_t forked_bytes = 0;             // of these, in blocks that forks of this session use as well
  size_t peak_bytes = 0;               // largest resident so far
  size_t scratch_bytes = 0;            // working memory of attention: not cache, not in bytes
  double bits_per_value = 0;           // 8 * bytes / (2 * tokens * layers * kv_heads * head_dim)
  double bits_per_value_marginal = 0;  // without shared_bytes
  double paper_bits_per_value = 0;     // the accounting of the method's paper
  double compression_factor = 0;       // 16 / bits_per_value
  struct Part {
    std::string name;
    size_t bytes = 0;
  };
  std::vector<Part> breakdown;
  std::vector<TierReport> tiers;
  std::vector<LayerReport> layers;  // only on request
};

// Where every token stands: for each (layer, kv_head) the level of each position on the ladder of
// precisions that the plan builds. 32 layers of 8 kv_heads cost 256 bytes a token.
struct TierMap {
  static constexpr int8_t kEvicted = -1;  // no longer readable

  int layers = 0, kv_heads = 0, tokens = 0;
  std::vector<TierReport> levels;  // highest precision first; tokens is a mean, as in CacheReport
  int low_level = 0;          // what lies above it is exact or high; levels.size() with low=drop
  std::vector<int8_t> level;  // [layers][kv_heads][tokens]

  // The levels of positions 0 .. tokens-1, [tokens].
  std::span<const int8_t> row(int layer, int kv_head) const {
    const auto n = static_cast<size_t>(tokens);
    return std::span(level).subspan(static_cast<size_t>(layer * kv_heads + kv_head) * n, n);
  }
  // Whether the token kept the precision of important ones: neither low nor evicted.
  bool is_high(int layer, int kv_head, int position) const {
    const int found = row(layer, kv_head)[static_cast<size_t>(position)];
    return found >= 0 && found < low_level;
  }
};

}  // namespace kvkeep
