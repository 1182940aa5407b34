// What the answers to questions come to: accuracies with intervals, by group and by place.
#pragma once

#include <vector>

#include "eval/recall.h"

namespace kvkeep {

struct RecallScore {
  std::vector<Tally> tallies;  // one a sample
  double seconds = 0;          // of decode steps
  int steps = 0;
  CacheReport cache;

  void add(const RecallScore& other);
};

// One row a plan; differences are against the first plan that is f16, if there is one.
std::vector<EvalRow> recall_rows(const TaskInput& in, const RecallTask& task,
                                 const std::vector<RecallScore>& scores);

}  // namespace kvkeep
