// For tests of tasks: the embedded model, its passage, and inputs made of them.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/file.h"
#include "eval/task.h"

namespace kvkeep {

inline const Model& embedded_model() {
  static const Model loaded =
      Model::load(std::string(KVKEEP_SOURCE_DIR) + "/models/kvkeep-5m-f16.gguf").value();
  return loaded;
}

inline const std::string& embedded_passage() {
  static const std::string text =
      read_file(std::string(KVKEEP_SOURCE_DIR) + "/src/eval/data/passage.txt").value();
  return text;
}

inline std::vector<Plan> plans_of(const std::vector<std::string>& names) {
  std::vector<Plan> plans;
  for (const auto& name : names) plans.push_back(Plan::parse(name).value());
  return plans;
}

// The plans must outlive the input.
inline TaskInput eval_input(const std::vector<Plan>& plans, int context, int samples) {
  TaskOptions options;
  options.context = context;
  options.limit = context * samples;
  options.samples = samples;
  return {embedded_model(), plans, embedded_passage(), options, {}};
}

inline TaskResult run_task(const std::string& task, const TaskInput& in) {
  return find_task(task).value()->run(in).value();
}

inline double metric(const EvalRow& row, const std::string& name) {
  for (const auto& found : row.metrics)
    if (found.name == name) return found.value;
  ADD_FAILURE() << "no metric " << name;
  return NAN;
}

}  // namespace kvkeep
