// Where a plan errs: the relative error of attention outputs per (layer, kv_head) against exact
// attention on the same queries, keys and values, read as windows.h says.
#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "base/thread_pool.h"
#include "engine/cache_report.h"
#include "engine/find_calibration.h"
#include "eval/attention_probe.h"
#include "eval/part_of.h"
#include "eval/windows.h"
#include "model/transformer.h"

namespace kvkeep {
namespace {

// Sums over windows, one a plan.
struct Score {
  std::vector<OutputError> heads;  // [layers][kv_heads]
  CacheReport cache;
};

Result<AttentionProbe> make_probe(const TaskInput& in, ThreadPool* pool) {
  const ModelConfig& config = in.model.transformer()->config();
  AttentionProbe::Sites sites;
  for (const Plan& plan : in.plans) {
    auto calibration = find_calibration(in.model, plan, in.options.calibration);
    if (!calibration) return tl::unexpected(calibration.error());
    auto site = CompressedAttention::make(plan, config.attention_shape(), config.rope,
                                          in.options.context, pool, *std::move(calibration));
    if (!site) return tl::unexpected(site.error());
    sites.push_back(std::move(*site));
  }
  return AttentionProbe(config.attention_shape(), std::move(sites));
}

// The window through the model, a quarter at once and the rest in steps, as read_window() does.
Result<void> read_through(const TaskInput& in, std::span<const int32_t> window, ThreadPool& pool,
                          AttentionProbe& probe, const ProgressFn& progress) {
  const Transformer& transformer = *in.model.transformer();
  const auto scratch = transformer.make_scratch();
  const auto all = static_cast<double>(window.size());
  const size_t prefix = window.size() / 4;
  for (size_t done = 0; done < window.size();) {
    if (progress && !progress(static_cast<double>(done), all)) return cancelled();
    const bool reading = done >= prefix;
    const size_t step = reading ? static_cast<size_t>(in.options.step) : prefix - done;
    const size_t n = std::min({step, window.size() - done, size_t{Transformer::kSliceTokens}});
    probe.score(reading);
    KVKEEP_TRY(transformer.forward(window.subspan(done, n), static_cast<int>(done), probe, pool,
                                   *scratch, nullptr, false));
    done += n;
    if (done < prefix) continue;
    for (const auto& site : probe.sites()) KVKEEP_TRY(site->demote(true));
  }
  return {};
}

Result<void> score_window(const TaskInput& in, std::span<const int32_t> window,
                          std::vector<Score>& scores, const ProgressFn& progress) {
  ThreadPool pool(in.options.threads ? in.options.threads : hardware_threads());
  auto probe = make_probe(in, &pool);
  if (!probe) return tl::unexpected(probe.error());
  KVKEEP_TRY(read_through(in, window, pool, *probe, progress));
  const ModelInfo& info = in.model.info();
  for (size_t p = 0; p < scores.size(); ++p) {
    scores[p].heads.resize(static_cast<size_t>(info.layers * info.kv_heads));
    auto sum = scores[p].heads.begin();
    for (int layer = 0; layer < info.layers; ++layer)
      for (int head = 0; head < info.kv_heads; ++head, ++sum) {
        sum->error += probe->error(p, layer, head).error;
        sum->exact += probe->error(p, layer, head).exact;
      }
    scores[p].cache = report_cache(*probe->sites()[p], in.plans[p], false);
  }
  return {};
}

EvalRow make_row(const TaskInput& in, const Score& score, int windows) {
  const int tokens = windows * (in.options.context - in.options.context / 4);
  double sum = 0, worst = 0;
  std::vector<Cell> cells;
  for (size_t i = 0; i < score.heads.size(); ++i) {
    const double error = score.heads[i].relative();
    const auto heads = static_cast<size_t>(in.model.info().kv_heads);
    sum += error;
    worst = std::max(worst, error);
    cells.push_back(
        {{{"layer", static_cast<double>(i / heads)}, {"kv_head", static_cast<double>(i % heads)}},
         error,
         tokens});
  }
  Reading reading;
  reading.cache = score.cache;
  EvalRow row = text_row(in, "attention_error", reading, windows,
                         {{"mean", sum / static_cast<double>(score.heads.size())},
                          {"worst", worst},
                          {"tokens", static_cast<double>(tokens), true}});
  row.cells = std::move(cells);
  return row;
}

}  // namespace

Result<TaskResult> run_attention_error(const TaskInput& in) {
  const auto windows = cut_windows(in, "attention_error");
  if (!windows) return tl::unexpected(windows.error());
  std::vector<Score> scores(in.plans.size());
  TaskResult result;
  int complete = 0;
  const auto all = static_cast<double>(windows->size());
  for (const auto& window : *windows) {
    const auto done = score_window(in, window, scores, unit_of(in.progress, complete, all));
    result.interrupted = !done && done.error().code == ErrorCode::cancelled;
    if (result.interrupted) break;
    if (!done) return tl::unexpected(done.error());
    ++complete;
  }
  if (complete > 0)
    for (const Score& score : scores) result.rows.push_back(make_row(in, score, complete));
  return result;
}

}  // namespace kvkeep
