// kvkeep bench decode: what a token costs in the whole engine, at several depths of the cache.
//
// Every (plan, depth) has a cache of its own, and so has every mode of a rival; a round lets each
// of them decode a few tokens in turn. Long caches are filled with made-up rows: reading a prompt
// of 32K tokens would take hours and leave the same bytes to read.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/bench/bars.h"
#include "eval/bench/measure.h"
#include "eval/report.h"
#include "kvkeep/model.h"
#include "kvkeep/progress.h"

namespace kvkeep::bench {

struct DecodeOptions {
  std::vector<Plan> plans;
  std::vector<int> depths;    // tokens in the cache before the first measured step
  bool made_up_rows = false;  // else the tokens are read by the model
  int threads = 1, rounds = 7, steps = 4;
  std::string rival;   // a shell command, or empty
  bool steal = false;  // measure too with one core taken away by another process
};

struct DecodeRow {
  std::string engine, mode;       // "kvkeep" and the plan, or the rival's name and mode
  int depth = 0, last_depth = 0;  // tokens in the cache before and after all rounds
  int threads = 0;
  size_t cache_bytes = 0;
  Spread ms_per_token, tokens_per_s;
  // Over the engine's own shallowest depth, same rounds: what the cache adds, per kv_head and
  // token.
  std::optional<Spread> ns_per_kv_token;
  // Against the best mode of the rival at this depth, time that the cache adds; kvkeep only.
  std::optional<Spread> over_rival;
  std::optional<Spread> slow_down;  // with a core taken away
};

struct DecodeResult {
  std::vector<DecodeRow> rows;
  std::string best_rival_mode;  // at the greatest depth; empty without a rival
  std::string rival_version;
  bool interrupted = false;
};

Result<DecodeResult> bench_decode(const DecodeOptions& options, const Model& model,
                                  const ProgressFn& progress);

std::vector<Bar> decode_bars(const DecodeResult& result);
Json decode_json(const DecodeResult& result);
std::string decode_text(const DecodeResult& result);

}  // namespace kvkeep::bench
