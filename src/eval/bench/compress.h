// kvkeep bench compress: what compressing costs.
//
//   encode   rows of an exact tier become rows of a coded one: choose, read, transform, quantize,
//            pack, close the gaps
//   prompt   the share of reading a prompt that its compression takes
//   slices   new prompt tokens attend over a compressed past, against the same over an f16 past
//   scores   what it costs to hand every slot's attention to the scorer
//   reads    one token's read of chunks across layers by predictor, against f16 and u4
//   crush    the choice of representatives by signatures, and its share of a decode step
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "eval/bench/bars.h"
#include "eval/bench/measure.h"
#include "eval/bench/synthetic.h"
#include "kvkeep/model.h"

namespace kvkeep::bench {

struct CompressOptions {
  std::vector<LayoutPair> layouts;                 // of encode and slices; f16 is left out
  std::vector<int> slices = {32, 128, 512};        // query rows
  int past = 4096;                                 // compressed tokens before a slice
  std::vector<int> contexts = {1024, 4096, 8192};  // of scores and reads
  std::vector<std::string> plans;                  // of prompt
  int prompt = 2048;                               // tokens, at most the model's context
  int threads = 1, rounds = 7;
  std::vector<std::string> parts = {"encode", "prompt", "slices", "scores", "reads", "crush"};

  bool wants(const std::string& part) const {
    return std::find(parts.begin(), parts.end(), part) != parts.end();
  }
};

struct EncodeRow {
  LayoutPair layouts;
  int rows = 0;           // of a head that go down together
  Spread g_values_per_s;  // of one core; a row is 2 x head_dim values
};

struct PromptRow {
  std::string plan;
  int tokens = 0;
  Spread share;    // of the processor time of feeding and compressing
  Spread seconds;  // processor time of the compression
};

struct SliceRow {
  LayoutPair layouts;
  int queries = 0, past = 0, threads = 0;
  Spread g_pairs_per_s;  // (query row of one q_head, token) pairs
  Spread of_f16;         // rate over that of the f16 past, same rounds
};

struct ScoreRow {
  std::string plan, phase;  // "decode", or "prefill" of a slice
  int context = 0, threads = 0;
  Spread extra;  // time over the same read with a scorer that sees nothing, minus 1
};

struct ChunkReadRow {
  std::string plan;
  int context = 0, threads = 0;
  Spread unpack, attend;  // seconds of one layer: of its chunks to float32, of the read after that
  Spread of_f16, of_u4;   // their sum over a read of f16 and of u4, same rounds
};

struct CrushRow {
  int tokens = 0, heads = 0;
  Spread seconds;  // of one core: signatures, distances, picks
};

struct CrushStepRow {
  std::string plan;
  int context = 0;
  Spread share;    // of the time that attention alone takes of a decode step
  Spread of_step;  // of attention and the products with a layer's f16 weights
};

struct CompressResult {
  std::vector<EncodeRow> encode;
  std::vector<PromptRow> prompt;
  std::vector<SliceRow> slices;
  std::vector<ScoreRow> scores;
  std::vector<ChunkReadRow> reads;
  std::vector<CrushRow> crush;
  std::vector<CrushStepRow> crush_steps;
  bool interrupted = false;
};

Result<CompressResult> bench_compress(const CompressOptions& options, const Model& model,
                                      const ProgressFn& progress);

// The parts; each counts its ticks and returns false when it was stopped.
using Tick = std::function<bool()>;
Result<bool> bench_encode(const CompressOptions& options, const Tick& tick,
                          std::vector<EncodeRow>* rows);
Result<bool> bench_prompt(const CompressOptions& options, const Model& model, const Tick& tick,
                          std::vector<PromptRow>* rows);
Result<bool> bench_slices(const CompressOptions& options, const Tick& tick,
                          std::vector<SliceRow>* rows);
Result<bool> bench_scores(const CompressOptions& options, const Tick& tick,
                          std::vector<ScoreRow>* rows);
const std::vector<std::string>& chunk_read_plans();
Result<bool> bench_reads(const CompressOptions& options, const Tick& tick,
                         std::vector<ChunkReadRow>* rows);
Result<bool> bench_crush(const CompressOptions& options, const Tick& tick,
                         std::vector<CrushRow>* rows);
Result<bool> bench_crush_step(const CompressOptions& options, const Tick& tick,
                              std::vector<CrushStepRow>* rows);

std::vector<Bar> compress_bars(const CompressResult& result);
Json compress_json(const CompressResult& result);
std::string compress_text(const CompressResult& result);

}  // namespace kvkeep::bench
