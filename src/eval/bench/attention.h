// kvkeep bench attention: whole decode reads from memory, against reading the same bytes.
//
// One step attends over all layers of a cache that is several times larger than the last-level
// cache. Times are processor time with one thread and wall time with more. In every round each case
// takes its turn, under each instruction set: a plain read of its bytes, then the attention. The
// f16 cache takes part in every round, so "faster than f16" is a ratio inside rounds.
#pragma once

#include <string>
#include <vector>

#include "eval/bench/measure.h"
#include "eval/bench/synthetic.h"
#include "eval/report.h"
#include "kernels/kernel_table.h"
#include "kvkeep/progress.h"

namespace kvkeep::bench {

struct AttentionOptions {
  std::vector<LayoutPair> layouts;  // f16 is always measured too
  std::vector<int> contexts = {16384}, gqa_ratios = {4}, head_dims = {128}, threads = {1};
  int kv_heads = 8, rounds = 7;
  std::vector<const KernelTable*> isas = {};  // empty: the selected one
  size_t least_bytes = 0;                     // of keys and values a case reads in one step
  std::string attend = {};  // a method of the plan's slot `attend`; empty: the plan's default
};

// Every layout on both sides, then 4-bit keys with 2-bit values and the reverse.
std::vector<LayoutPair> default_layouts();

// "avx2,avx512" as tables; those that cannot run here are refused.
Result<std::vector<const KernelTable*>> parse_isas(const std::string& text);

struct AttentionRow {
  LayoutPair layouts;
  int head_dim = 0, gqa_ratio = 0, kv_heads = 0, layers = 0, context = 0, threads = 0;
  std::string isa = {};
  size_t kv_bytes = 0;  // keys and values of one step
  Spread ns = {};       // one token of one kv_head, all q_heads of its group
  Spread gb_per_s = {}, read_gb_per_s = {}, fraction_of_read = {};
  Spread speed_up_over_f16 = {};  // in time, same rounds and instruction set
};

struct AttentionResult {
  std::vector<AttentionRow> rows;
  bool interrupted = false;  // rows then stand on fewer rounds, or are missing
};

Result<AttentionResult> bench_attention(const AttentionOptions& options,
                                        const ProgressFn& progress);

Json attention_json(const std::vector<AttentionRow>& rows);
std::string attention_text(const std::vector<AttentionRow>& rows);

}  // namespace kvkeep::bench
