// kvkeep eval: what plans cost in quality, one table a task, one row a plan.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/fail.h"
#include "base/file.h"
#include "command.h"
#include "eval/at_bytes.h"
#include "eval/html/html_report.h"
#include "eval/measure.h"
#include "eval/part_of.h"
#include "eval/report.h"
#include "eval/table.h"
#include "eval/task.h"
#include "interrupt.h"
#include "kvkeep/methods.h"
#include "progress.h"

namespace kvkeep {
namespace {

constexpr int kDefaultContext = 2048;
constexpr int64_t kDefaultLimit = 8192;

struct EvalOptions {
  CommonOptions common;
  std::string tasks, plans = "f16 mikv", text, data, at_bytes, html;
  int64_t limit = 0, samples = 0;
  int step = 32;
  bool bos = false, query_aware = false, has_tasks = false;
  std::string needle, question, answer, kld_save, kld_ref, calibration;
  int answer_tokens = 64;
};

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);)
    if (!part.empty()) parts.push_back(part);
  return parts;
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
  const int64_t samples = options.samples > 0 ? options.samples : options.limit;
  task.limited = samples > 0;
  if (task.limited) task.samples = samples;
  task.step = options.step;
  task.threads = options.common.threads;
  task.seed = options.common.seed;
  task.bos = options.bos;
  task.query_aware = options.query_aware;
  task.needle = options.needle;
  task.question = options.question;
  task.answer = options.answer;
  task.data_name = options.data;
  task.answer_tokens = options.answer_tokens;
  task.kld_save = options.kld_save;
  task.kld_ref = options.kld_ref;
  task.calibration = options.calibration;
  return task;
}

// What all tasks get.
struct Inputs {
  Model model;
  std::vector<Plan> plans;
  std::string text, data;
  TaskOptions options;
};

Result<Inputs> read_inputs(const EvalOptions& options) {
  auto plans = parse_plans(options.plans);
  if (!plans) return tl::unexpected(plans.error());
  KVKEEP_TRY(check_calibration(options.calibration, *plans));
  auto text = text_or_passage(options.text);
  if (!text) return tl::unexpected(text.error());
  auto data = options.data.empty() ? Result<std::string>("") : read_text(options.data);
  if (!data) return tl::unexpected(data.error());
  auto model = load_model(options.common);
  if (!model) return tl::unexpected(model.error());
  auto settings = task_options(options, *model);
  if (!settings) return tl::unexpected(settings.error());
  return Inputs{std::move(*model), std::move(*plans), std::move(*text), std::move(*data),
                std::move(*settings)};
}

// What --at-bytes chose, for people.
std::string fitted_text(const Json& fitted) {
  if (fitted.is_null()) return "";
  std::string text = fmt::format(
      "plans of {} = {} bytes at {} tokens\n", fitted.at("asked").get<std::string>(),
      grouped(fitted.at("bytes").get<int64_t>()), grouped(fitted.at("tokens").get<int64_t>()));
  Table table({"<plan", "bytes", "deviation"});
  for (const auto& row : fitted.at("plans"))
    table.add({row.at("preset").get<std::string>(), grouped(row.at("bytes").get<int64_t>()),
               fmt::format("{:+.1f} %", 100 * row.at("deviation").get<double>())});
  return text + table.text() + "\n";
}

// Turns each plan's knob so that a full context takes the bytes asked for; f16 stays as it is.
Result<Json> fit_plans(const EvalOptions& options, Inputs& in) {
  const int tokens = in.options.context;
  const auto prompt = random_tokens(in.model.info().vocab, tokens, in.options.seed);
  const MeasureBytes measure = [&](const Plan& plan, const ProgressFn& progress) {
    return measure_cache(in.model, plan, prompt, {in.options.threads, 0, in.options.calibration},
                         progress)
        .map([](const CacheReport& report) { return report.bytes; });
  };
  const Plan f16 = *Plan::parse("f16");
  Progress progress("eval --at-bytes");
  const ProgressFn fn = progress.fn();
  const auto f16_bytes = measure(f16, {});
  if (!f16_bytes) return tl::unexpected(f16_bytes.error());
  const auto bytes = parse_bytes(options.at_bytes, *f16_bytes);
  if (!bytes) return tl::unexpected(bytes.error());
  Json rows = Json::array();
  const auto all = static_cast<double>(in.plans.size());
  for (size_t i = 0; i < in.plans.size(); ++i) {
    if (in.plans[i] == f16) continue;
    auto fitted = fit_bytes(in.plans[i], *bytes, measure, unit_of(fn, static_cast<double>(i), all));
    if (!fitted) {
      Error error = fitted.error();
      error.message += fmt::format("; f16 takes {}", *f16_bytes);
      return tl::unexpected(std::move(error));
    }
    rows.push_back({{"asked", in.plans[i].typed()},
                    {"preset", fitted->plan.typed()},
                    {"keep", fitted->keep},
                    {"bytes", fitted->bytes},
                    {"deviation", fitted->deviation}});
    if (std::abs(fitted->deviation) > 0.01)
      fmt::print(stderr, "hint: plan '{}' comes to {:+.1f} % of the bytes asked for, no nearer\n",
                 in.plans[i].typed(), 100 * fitted->deviation);
    in.plans[i] = std::move(fitted->plan);
  }
  return Json{{"asked", options.at_bytes}, {"tokens", tokens}, {"bytes", *bytes}, {"plans", rows}};
}

Result<TaskResult> run_tasks(const std::vector<const TaskInfo*>& tasks, const Inputs& in) {
  TaskResult all;
  for (const TaskInfo* task : tasks) {
    Progress progress("eval " + task->name);
    auto result = task->run({in.model, in.plans, in.text, in.options, progress.fn(), in.data});
    if (!result) return result;
    std::move(result->rows.begin(), result->rows.end(), std::back_inserter(all.rows));
    all.interrupted = result->interrupted;
    if (all.interrupted) break;
  }
  return all;
}

// Options that only one task reads are refused without it.
Result<void> check_options(const EvalOptions& options, const std::vector<const TaskInfo*>& tasks) {
  const auto needs = [&](bool given, const char* option, const char* name) -> Result<void> {
    const bool runs = std::any_of(tasks.begin(), tasks.end(),
                                  [&](const TaskInfo* task) { return task->name == name; });
    if (!given || runs) return {};
    return bad_input("{} is for task {} only; see --tasks", option, name);
  };
  KVKEEP_TRY(needs(!options.data.empty(), "--data", "data"));
  KVKEEP_TRY(needs(!options.needle.empty(), "--needle", "needle"));
  KVKEEP_TRY(needs(!options.question.empty(), "--question", "needle"));
  KVKEEP_TRY(needs(!options.answer.empty(), "--answer", "needle"));
  KVKEEP_TRY(needs(!options.kld_save.empty(), "--kld-save", "kld"));
  return needs(!options.kld_ref.empty(), "--kld-ref", "kld");
}

std::string utc_now() {
  const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  return fmt::format("{:%Y-%m-%d %H:%M} UTC", fmt::gmtime(now));
}

// The results as a page; what a stopped run still has is shown without tier maps.
Result<void> write_page(const std::string& path, const Inputs& in, const TaskResult& result,
                        const Json& json) {
  if (path.empty()) return {};
  PromptMap map;
  map.missing = "the run was stopped";
  if (!result.interrupted) {
    Progress progress("eval tier maps");
    auto found = map_prompt({in.model, in.plans, in.text, in.options, progress.fn()});
    if (!found) return tl::unexpected(found.error());
    map = *std::move(found);
  }
  return write_file(path, html_page({json, map, eval_text(result), utc_now()}));
}

// What measurements say against a plan for such tasks; a line each.
void print_advice(const std::vector<const TaskInfo*>& tasks, const std::vector<Plan>& plans) {
  const auto asks = [](const TaskInfo* task) {
    const char* read_on[] = {"ppl", "kld", "generate", "attention_error"};
    return std::find(std::begin(read_on), std::end(read_on), task->name) == std::end(read_on);
  };
  const bool asked = std::any_of(tasks.begin(), tasks.end(), asks);
  for (const Plan& plan : plans)
    if (const std::string hint = advice(plan, asked); !hint.empty())
      fmt::print(stderr, "hint: {}\n", hint);
}

Result<int> eval(const EvalOptions& options) {
  const std::string otherwise = options.data.empty() ? "ppl" : "data";
  const auto tasks = parse_tasks(options.has_tasks ? options.tasks : otherwise);
  if (!tasks) return tl::unexpected(tasks.error());
  KVKEEP_TRY(check_options(options, *tasks));
  for (const std::string& path : {options.html, options.kld_save})
    if (!path.empty()) KVKEEP_TRY(check_writable(path));
  auto in = read_inputs(options);
  if (!in) return tl::unexpected(in.error());
  print_advice(*tasks, in->plans);
  Json fitted;
  if (!options.at_bytes.empty()) {
    auto rows = fit_plans(options, *in);
    if (!rows) return tl::unexpected(rows.error());
    fitted = std::move(*rows);
  }
  const auto result = run_tasks(*tasks, *in);
  if (!result) return tl::unexpected(result.error());
  const auto machine = machine_info();
  if (!machine) return tl::unexpected(machine.error());
  Json json = {{"schema", "kvkeep.eval/1"},
               {"command", command_line()},
               {"model", model_json(in->model.info())},
               {"machine", machine_json(*machine, options.common.threads)},
               {"interrupted", result->interrupted},
               {"results", eval_json(*result)}};
  if (!fitted.is_null()) json["at_bytes"] = fitted;
  KVKEEP_TRY(write_page(options.html, *in, *result, json));
  KVKEEP_TRY(
      write_out(options.common.json ? json_text(json) : fitted_text(fitted) + eval_text(*result)));
  if (!result->interrupted) return kExitOk;
  return failed("stopped; the figures above are of what was complete for every plan");
}

void add_answers(CLI::App& command, EvalOptions* options) {
  command.add_flag("--query-aware", options->query_aware,
                   "compress the cache only after each question was read (default: before)");
  command.add_option("--needle", options->needle,
                     "a sentence for task needle to hide (default: a pass key)");
  command.add_option("--question", options->question, "what to ask about it");
  command.add_option("--answer", options->answer, "what must be in the model's answer");
  command
      .add_option("--data", options->data,
                  "JSON Lines with the fields of LongBench or RULER, for task data")
      ->check(not_empty());
  command
      .add_option("--answer-tokens", options->answer_tokens,
                  "longest answer to them in tokens (default: 64)")
      ->check(integer_between(1, 1 << 16));
  command.add_option("--kld-save", options->kld_save, "write what f16 predicts to this file")
      ->check(not_empty());
  command.add_option("--kld-ref", options->kld_ref, "read it from there instead of running f16")
      ->check(not_empty());
  command
      .add_option("--calibration", options->calibration,
                  "what kvkeep calibrate wrote, for plans with a predictor (default: the file "
                  "beside the model)")
      ->check(not_empty());
  command
      .add_option("--at-bytes", options->at_bytes,
                  "fit `keep` of every plan to a cache of this size: a share of the f16 cache "
                  "(20%) or bits per value (3.2)")
      ->check(not_empty());
}

}  // namespace

void add_eval(CLI::App& app, Action* action) {
  const auto options = std::make_shared<EvalOptions>();
  CLI::App* command = app.add_subcommand("eval", "what plans cost in quality and bytes");
  add_common(*command, &options->common);
  std::string names;
  for (const auto& task : tasks()) names += "\n  " + task.name + ": " + task.summary;
  const auto* chosen = command->add_option(
      "--tasks", options->tasks,
      "tasks, separated by commas (default: ppl, or data when there is --data)" + names);
  command->add_option("--plans", options->plans,
                      "plans, separated by spaces (default: \"f16 mikv\"); f16 is the reference");
  command
      ->add_option("--text", options->text,
                   "text to read and to hide facts in, - for standard input (default: a book)")
      ->check(not_empty());
  command
      ->add_option("--limit", options->limit,
                   "tokens of text that ppl, kld and attention_error use (default: 8192); samples "
                   "of the other tasks (default: 20; data: all of the file)")
      ->check(integer_between(1, INT64_MAX));
  command
      ->add_option("--samples", options->samples, "samples, where --limit is meant for tokens only")
      ->check(integer_between(1, INT_MAX));
  command->add_option("--step", options->step, "tokens between two compressions (default: 32)")
      ->check(integer_between(1, 1 << 20));
  command
      ->add_option("--html", options->html,
                   "also write the results to this file, as a page with charts and maps")
      ->check(not_empty());
  command->add_flag("--bos", options->bos, "begin every window with the model's BOS token");
  add_answers(*command, options.get());
  command->callback([=] {
    options->has_tasks = chosen->count() > 0;
    *action = [options] { return eval(*options); };
  });
}

}  // namespace kvkeep
