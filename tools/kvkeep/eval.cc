// kvkeep eval: what plans cost in quality, one table a task, one row a plan.
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/fail.h"
#include "command.h"
#include "eval/report.h"
#include "eval/task.h"
#include "interrupt.h"
#include "progress.h"

namespace kvkeep {
namespace {

constexpr int kDefaultContext = 2048;
constexpr int64_t kDefaultLimit = 8192;

struct EvalOptions {
  CommonOptions common;
  std::string tasks = "ppl", plans = "f16 mikv", text;
  int64_t limit = 0;
  int step = 32;
  bool bos = false;
};

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);)
    if (!part.empty()) parts.push_back(part);
  return parts;
}

Result<std::vector<Plan>> parse_plans(const std::string& text) {
  std::vector<Plan> plans;
  for (const auto& word : split(text, ' ')) {
    auto plan = Plan::parse(word);
    if (!plan) return tl::unexpected(plan.error());
    plans.push_back(std::move(*plan));
  }
  if (plans.empty()) return bad_input("--plans names no plan; see kvkeep methods");
  return plans;
}

Result<std::vector<const TaskInfo*>> parse_tasks(const std::string& text) {
  std::vector<const TaskInfo*> found;
  for (const auto& name : split(text, ',')) {
    const auto task = find_task(name);
    if (!task) return tl::unexpected(task.error());
    found.push_back(*task);
  }
  if (found.empty()) return tl::unexpected(find_task("").error());
  return found;
}

Result<TaskOptions> task_options(const EvalOptions& options, const Model& model) {
  const auto context = context_of(options.common, model, kDefaultContext);
  if (!context) return tl::unexpected(context.error());
  TaskOptions task;
  task.context = *context;
  task.limit = options.limit > 0 ? options.limit : std::max<int64_t>(kDefaultLimit, *context);
  if (options.limit > 0) task.samples = options.limit;
  task.step = options.step;
  task.threads = options.common.threads;
  task.seed = options.common.seed;
  task.bos = options.bos;
  return task;
}

Result<TaskResult> run_tasks(const std::vector<const TaskInfo*>& tasks, const Model& model,
                             const std::vector<Plan>& plans, const std::string& text,
                             const TaskOptions& options) {
  TaskResult all;
  for (const TaskInfo* task : tasks) {
    Progress progress("eval " + task->name);
    auto result = task->run({model, plans, text, options, progress.fn()});
    if (!result) return result;
    std::move(result->rows.begin(), result->rows.end(), std::back_inserter(all.rows));
    all.interrupted = result->interrupted;
    if (all.interrupted) break;
  }
  return all;
}

Result<int> eval(const EvalOptions& options) {
  const auto tasks = parse_tasks(options.tasks);
  if (!tasks) return tl::unexpected(tasks.error());
  const auto plans = parse_plans(options.plans);
  if (!plans) return tl::unexpected(plans.error());
  const auto text = text_or_passage(options.text);
  if (!text) return tl::unexpected(text.error());
  const auto model = load_model(options.common);
  if (!model) return tl::unexpected(model.error());
  const auto settings = task_options(options, *model);
  if (!settings) return tl::unexpected(settings.error());

  const auto result = run_tasks(*tasks, *model, *plans, *text, *settings);
  if (!result) return tl::unexpected(result.error());
  const auto machine = machine_info();
  if (!machine) return tl::unexpected(machine.error());
  const Json json = {{"schema", "kvkeep.eval/1"},
                     {"command", command_line()},
                     {"model", model_json(model->info())},
                     {"machine", machine_json(*machine, options.common.threads)},
                     {"interrupted", result->interrupted},
                     {"results", eval_json(*result)}};
  KVKEEP_TRY(write_out(options.common.json ? json_text(json) : eval_text(*result)));
  if (!result->interrupted) return kExitOk;
  return failed("stopped; the figures above are of what was complete for every plan");
}

}  // namespace

void add_eval(CLI::App& app, Action* action) {
  const auto options = std::make_shared<EvalOptions>();
  CLI::App* command = app.add_subcommand("eval", "what plans cost in quality and bytes");
  add_common(*command, &options->common);
  std::string names;
  for (const auto& task : tasks()) names += "\n  " + task.name + ": " + task.summary;
  command->add_option("--tasks", options->tasks,
                      "tasks, separated by commas (default: ppl)" + names);
  command->add_option("--plans", options->plans,
                      "plans, separated by spaces (default: \"f16 mikv\"); f16 is the reference");
  command->add_option("--text", options->text,
                      "text of the text tasks, - for standard input (default: a book)");
  command
      ->add_option("--limit", options->limit,
                   "tokens of text that are used (default: 8192); samples of lines, passkey "
                   "and kv_recall (default: 20)")
      ->check(integer_between(1, INT64_MAX));
  command->add_option("--step", options->step, "tokens between two compressions (default: 32)")
      ->check(integer_between(1, 1 << 20));
  command->add_flag("--bos", options->bos, "begin every window with the model's BOS token");
  command->callback([=] { *action = [options] { return eval(*options); }; });
}

}  // namespace kvkeep
