// The demo's figures, and how they are shown: as a table, in plain words computed from them, and as
// JSON.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/hidden_fact.h"
#include "eval/report.h"
#include "kvkeep/plan.h"

namespace kvkeep {

struct DemoRow {
  Plan plan;
  int right = 0;        // facts found, of DemoResult::facts
  std::string example;  // answer to the first question
  CacheReport cache;    // after the last question
  double seconds = 0;   // decode
  int steps = 0;        // decode steps
  std::optional<double> ppl;

  double tokens_per_second() const { return seconds > 0 ? steps / seconds : 0; }
  bool keeps_all() const { return cache.readable_tokens == cache.tokens; }
};

struct DemoResult {
  std::vector<DemoRow> rows;  // the first is the f16 reference
  HiddenFact first;           // the question whose answer is the example
  int facts = 0, passage_tokens = 0;
  double depth = 0;
  int ppl_context = 0, ppl_step = 0, ppl_windows = 0;
  bool interrupted = false;
};

std::string demo_text(const DemoResult& result);
Json demo_json(const DemoResult& result);

}  // namespace kvkeep
