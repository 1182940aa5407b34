// What this project demands of its own speed, next to what was measured.
//
// A bar is a ratio inside rounds, so it holds on any machine; one that is missed is shown as
// missed, not redefined. Bars of attention: head_dim 128, gqa_ratio 4, memory of at least four
// last-level caches, the selected kernels; with AVX2 the time over those with AVX-512.
#pragma once

#include <string>
#include <vector>

#include "eval/bench/attention.h"

namespace kvkeep::bench {

struct Bar {
  std::string what;
  int threads = 0;
  double wanted = 0, measured = 0;
  bool at_most = false;  // wanted is the most, not the least

  bool met() const { return at_most ? measured <= wanted : measured >= wanted; }
};

// Those that the rows can answer, one for each context among them.
std::vector<Bar> attention_bars(const std::vector<AttentionRow>& rows);

Json bars_json(const std::vector<Bar>& bars);
std::string bars_text(const std::vector<Bar>& bars);  // empty without bars

// Bytes of the largest cache this machine reports; 32 MiB where it reports none.
size_t last_level_cache_bytes();

}  // namespace kvkeep::bench
