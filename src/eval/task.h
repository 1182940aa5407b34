// A task measures what plans cost in quality. One task is one file and one row in tasks.inc.
//
// A task gets all plans at once and feeds every one of them the same input, so that their figures
// can be compared even when the user stops it half-way: what is left out is left out for all.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvkeep/error.h"
#include "kvkeep/model.h"
#include "kvkeep/plan.h"
#include "kvkeep/progress.h"
#include "kvkeep/report.h"

namespace kvkeep {

struct TaskOptions {
  int context = 2048;    // tokens of one window, or of one sample with its questions
  int64_t limit = 8192;  // text tasks: tokens of the text that are used, whole windows
  int step = 32;         // text tasks: tokens fed between two compressions
  int64_t samples = 20;  // other tasks
  int threads = 0;       // 0: all cores
  uint64_t seed = 0;
  bool bos = false;  // text tasks: every window begins with the model's begin-of-sequence token
  bool query_aware = false;  // recall tasks: the question is read before the cache is compressed
  // needle: a sentence to hide instead of the pass key, what to ask, what must be in the answer.
  std::string needle = {}, question = {}, answer = {};
  std::string data_name = {};               // data: the file its samples come from, for messages
  int answer_tokens = 64;                   // data: the longest answer
  std::string calibration = {};             // a file for plans with a predictor
  bool limited = false;                     // data: only the first `samples` of the file
  std::string kld_save = {}, kld_ref = {};  // kld: files to write and read the reference
};

struct TaskInput {
  const Model& model;
  std::span<const Plan> plans;
  std::string_view text;
  TaskOptions options;
  ProgressFn progress;
  std::string_view data = {};  // data: JSON Lines
};

struct Metric {
  std::string name;
  double value = 0;
  bool count = false;                                      // a whole number
  std::optional<std::pair<double, double>> interval = {};  // 95 %
  std::optional<std::pair<double, double>> vs_f16 = {};    // 95 % of the paired difference
  bool detail = false;                                     // not for tables that people read
};

// A figure at a place of a task's grid: {{"length", 512}, {"depth", 0.25}}, {{"layer", 0}, ...}.
struct Cell {
  std::vector<std::pair<std::string, double>> place;
  double value = 0;
  int n = 0;  // questions or rows
};

// One plan on one task. Figures mean nothing without the protocol beside them.
struct EvalRow {
  std::string task;
  std::vector<Metric> metrics;   // the first is the one that is compared with f16
  std::vector<Cell> cells = {};  // of tasks with a grid
  // The first metric (of ppl: its nll) in each of the units that intervals draw from: samples,
  // stretches of a text. The same units for every plan, so that any two can be compared in pairs.
  std::vector<double> units = {};
  std::vector<double> nll_units = {};  // the same of answer_nll, where a task has it
  CacheReport cache;                   // at the end of the last whole window or sample
  TaskOptions protocol;
  int windows = 0, samples = 0;  // one of them, by the kind of task
  int continuation = 0;          // tokens generated without a question; 0: questions are asked
  double tokens_per_second = 0;  // fed or decoded on the compressed cache, compression included
};

struct TaskResult {
  std::vector<EvalRow> rows;
  bool interrupted = false;  // rows then hold what was complete for every plan
};

struct TaskInfo {
  std::string name, summary;
  Result<TaskResult> (*run)(const TaskInput&);
};

const std::vector<TaskInfo>& tasks();
// An error lists the names that exist.
Result<const TaskInfo*> find_task(const std::string& name);

// The first n token ids of a text (fewer when it is shorter), without BOS; reads no more of a large
// text than it needs.
std::vector<int32_t> first_tokens(const Model& model, std::string_view text, int64_t n);

}  // namespace kvkeep
