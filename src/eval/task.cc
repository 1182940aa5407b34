#include "eval/task.h"

#include <algorithm>

#include "base/fail.h"
#include "eval/all_plans.h"

namespace kvkeep {

#define KVKEEP_TASK(name, function, summary) Result<TaskResult> function(const TaskInput&);
#include "eval/tasks.inc"
#undef KVKEEP_TASK

const std::vector<TaskInfo>& tasks() {
  static const std::vector<TaskInfo> rows = {
#define KVKEEP_TASK(name, function, summary) {#name, summary, function},
#include "eval/tasks.inc"
#undef KVKEEP_TASK
  };
  return rows;
}

Result<const TaskInfo*> find_task(const std::string& name) {
  std::string allowed;
  for (const auto& task : tasks()) {
    if (task.name == name) return &task;
    allowed += (allowed.empty() ? "" : ", ") + task.name;
  }
  return bad_input("unknown task '{}'; allowed: {}", name, allowed);
}

Result<Session> open_session(const TaskInput& in, const Plan& plan) {
  SessionOptions options;
  options.threads = in.options.threads;
  options.context = in.options.context;
  options.calibration = in.options.calibration;
  auto session = Session::create(in.model, plan, options);
  if (session) session->seed(in.options.seed);
  return session;
}

std::vector<int32_t> first_tokens(const Model& model, std::string_view text, int64_t n) {
  constexpr size_t kMargin = 64;  // tokens near a cut may differ from those of the whole text
  // A token covers at least a byte, so no text has more tokens than bytes.
  const size_t wanted = std::min(static_cast<size_t>(std::max<int64_t>(n, 0)), text.size());
  for (size_t bytes = (wanted + kMargin) * 8;; bytes *= 2) {
    const bool whole = bytes >= text.size();
    auto tokens = model.encode(whole ? text : text.substr(0, bytes), false);
    if (!whole && tokens.size() < wanted + kMargin) continue;
    tokens.resize(std::min(tokens.size(), wanted));
    return tokens;
  }
}

}  // namespace kvkeep
