// kvkeep bench decode: what a token costs in the whole engine, at several depths of the cache.
//
// Every plan has a cache at the shallowest depth and one at a deeper one, and so has every mode of
// a rival; a round lets each of them decode a few tokens in turn. Deeper depths follow one after
// the other, because the caches of all would not fit into memory together. Long caches are filled
// with made-up rows: reading a prompt of 32K tokens would take hours and leave the same bytes to
// read. Rows go down in batches every few tokens, so a turn of this engine is as many tokens as a
// batch; a rival, which may need a second for each, does the same work at every token and takes
// fewer.
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
  int threads = 1, rounds = 7, steps = 16, rival_steps = 2;
  int batch = 1;  // sequences of this engine that take each step together; times are a sequence's
  std::vector<std::string> rivals;  // shell commands
  bool steal = false;               // measure too with one core taken away by another process
};

struct DecodeRow {
  std::string engine, mode;       // "kvkeep" and the plan, or the rival's name and mode
  int depth = 0, last_depth = 0;  // tokens in the cache before and after all rounds
  int threads = 0;
  size_t cache_bytes = 0;  // of all sequences of a batch
  Spread ms_per_token, tokens_per_s;
  // Over the engine's own shallowest depth, same rounds: what the cache adds, per kv_head and
  // token.
  std::optional<Spread> ns_per_kv_token;
  // Against the best mode of each rival at this depth, time that the cache adds; kvkeep only.
  struct Over {
    std::string engine, mode;
    Spread times;
  };
  std::vector<Over> over_rivals;
  std::optional<Spread> slow_down;  // with a core taken away
};

struct RivalInfo {
  std::string command, engine, version, system;
  std::string best_mode;  // at the greatest depth
};

struct DecodeResult {
  std::vector<DecodeRow> rows;
  std::vector<RivalInfo> rivals;
  bool interrupted = false;
};

Result<DecodeResult> bench_decode(const DecodeOptions& options, const Model& model,
                                  const ProgressFn& progress);

std::vector<Bar> decode_bars(const DecodeResult& result);
Json rivals_json(const DecodeResult& result);
Json decode_json(const DecodeResult& result);
std::string decode_text(const DecodeResult& result);

}  // namespace kvkeep::bench
