// All plans on the same input: a unit (a window, a sample) counts only once every plan has been
// through it, so figures stay comparable when the user stops a run half-way.
#pragma once

#include <utility>
#include <vector>

#include "base/fail.h"
#include "eval/part_of.h"
#include "eval/task.h"
#include "kvkeep/session.h"

namespace kvkeep {

// A session with the context and threads that the task's options name.
Result<Session> open_session(const TaskInput& in, const Plan& plan);

template <class Score>
struct Scores {
  std::vector<Score> totals;  // one a plan
  int complete = 0;           // units
  bool interrupted = false;
};

// run(unit, plan index, progress) is a Result<Score>; a Score has add(const Score&).
template <class Score, class Run>
Result<Scores<Score>> score_all_plans(const TaskInput& in, size_t units, const Run& run) {
  for (const Plan& plan : in.plans) KVKEEP_TRY(open_session(in, plan));
  Scores<Score> all;
  all.totals.resize(in.plans.size());
  const auto runs = static_cast<double>(units * in.plans.size());
  for (size_t unit = 0; unit < units; ++unit) {
    std::vector<Score> scores;
    for (size_t p = 0; p < in.plans.size(); ++p) {
      const auto done = static_cast<double>(unit * in.plans.size() + p);
      Result<Score> score = run(unit, p, unit_of(in.progress, done, runs));
      if (!score && score.error().code == ErrorCode::cancelled) {
        all.interrupted = true;
        return all;
      }
      if (!score) return tl::unexpected(score.error());
      scores.push_back(std::move(*score));
    }
    for (size_t p = 0; p < scores.size(); ++p) all.totals[p].add(scores[p]);
    ++all.complete;
  }
  return all;
}

// The rows of all plans; make_row(in, total, complete units) is an EvalRow.
template <class Score, class Run, class MakeRow>
Result<TaskResult> rows_of_all_plans(const TaskInput& in, size_t units, const Run& run,
                                     const MakeRow& make_row) {
  const auto scores = score_all_plans<Score>(in, units, run);
  if (!scores) return tl::unexpected(scores.error());
  TaskResult result;
  result.interrupted = scores->interrupted;
  if (scores->complete > 0)
    for (const Score& score : scores->totals)
      result.rows.push_back(make_row(in, score, scores->complete));
  return result;
}

}  // namespace kvkeep
