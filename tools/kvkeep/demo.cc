// kvkeep demo: the main promise in a minute or two. Facts hidden early in long passages are asked
// for after the cache was compressed, under plans of comparable bytes.
#include "demo.h"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "command.h"
#include "eval/at_bytes.h"
#include "eval/part_of.h"
#include "progress.h"

namespace kvkeep {
namespace {

constexpr double kDepth = 0.1;
constexpr int kRoom = 64;  // tokens for question and answer
constexpr int kMostPassage = 1900;
// Plans as they are, and evicting presets whose `keep` is fitted to the bytes of kLike.
constexpr const char* kPlans[] = {"f16", "mikv-4", "mikv", "rtn2"};
constexpr const char* kFitted[] = {"h2o", "streaming"};
constexpr const char* kLike = "mikv";
// Units of work, one prefill each, for the progress line.
constexpr double kFitUnits = 9, kPplUnits = 2;

struct DemoOptions {
  CommonOptions common;
  std::string text;
  int facts = 10;
};

// Counts units of work across the stages of the demo.
struct Work {
  ProgressFn fn;
  double done = 0, total = 1;
  ProgressFn next(double units) {
    const double base = done;
    done += units;
    return unit_of(fn, base, total, units);
  }
};

struct Demo {
  const DemoOptions& options;
  const Model& model;
  const std::string& text;
  Work work;
  DemoResult result;
  std::vector<HiddenFact> facts;
};

Result<void> hide_facts(Demo& demo) {
  const auto context = context_of(demo.options.common, demo.model, demo.model.info().context);
  if (!context) return tl::unexpected(context.error());
  const int tokens = std::min(kMostPassage, *context - kRoom);
  if (tokens < 2 * kRoom)
    return bad_input("the demo needs a context of at least {} tokens, found {}", 3 * kRoom,
                     *context);
  demo.result.ppl_context = std::min(TaskOptions{}.context, *context);
  size_t offset = 0;
  for (int i = 0; i < demo.options.facts; ++i) {
    auto fact = hide_fact(demo.model, demo.text, &offset, kDepth, tokens,
                          demo.options.common.seed + static_cast<uint64_t>(i));
    if (!fact) return tl::unexpected(fact.error());
    demo.facts.push_back(std::move(*fact));
  }
  demo.result.first = demo.facts[0];
  demo.result.passage_tokens = static_cast<int>(demo.facts[0].passage.size());
  demo.result.depth = kDepth;
  return {};
}

Result<void> choose_plans(Demo& demo) {
  const auto add = [&](Result<Plan> plan) -> Result<void> {
    if (!plan) return tl::unexpected(plan.error());
    DemoRow row;
    row.plan = std::move(*plan);
    demo.result.rows.push_back(std::move(row));
    return {};
  };
  for (const char* name : kPlans) KVKEEP_TRY(add(Plan::parse(name)));
  const MeasureBytes measure = [&](const Plan& plan, const ProgressFn& progress) {
    const int threads = demo.options.common.threads;
    return ask_fact(demo.model, plan, demo.facts[0], threads, progress)
        .map([](const FactAnswer& answer) { return answer.cache.bytes; });
  };
  const auto like = measure(*Plan::parse(kLike), demo.work.next(1));
  if (!like) return tl::unexpected(like.error());
  for (const char* name : kFitted)
    KVKEEP_TRY(add(fit_bytes(*Plan::parse(name), *like, measure, demo.work.next(kFitUnits))
                       .map([](const FittedPlan& fitted) { return fitted.plan; })));
  return {};
}

// One fact under every plan; counts only when all have answered.
Result<void> ask_all(Demo& demo, const HiddenFact& fact) {
  std::vector<FactAnswer> answers;
  for (const auto& row : demo.result.rows) {
    const ProgressFn progress = demo.work.next(1);
    auto answer = ask_fact(demo.model, row.plan, fact, demo.options.common.threads, progress);
    if (!answer) return tl::unexpected(answer.error());
    answers.push_back(std::move(*answer));
  }
  for (size_t i = 0; i < answers.size(); ++i) {
    DemoRow& row = demo.result.rows[i];
    if (demo.result.facts == 0) row.example = answers[i].text;
    row.right += answers[i].right;
    row.cache = answers[i].cache;
    row.seconds += answers[i].seconds;
    row.steps += answers[i].steps;
  }
  ++demo.result.facts;
  return {};
}

Result<void> measure_perplexity(Demo& demo) {
  std::vector<Plan> plans;
  for (const auto& row : demo.result.rows) plans.push_back(row.plan);
  TaskOptions options;
  options.context = demo.result.ppl_context;
  options.limit = options.context;
  options.threads = demo.options.common.threads;
  options.seed = demo.options.common.seed;
  const auto task = find_task("ppl");
  if (!task) return tl::unexpected(task.error());
  const ProgressFn progress = demo.work.next(kPplUnits * static_cast<double>(plans.size()));
  const auto scores = (*task)->run({demo.model, plans, demo.text, options, progress});
  if (!scores) return tl::unexpected(scores.error());
  if (scores->interrupted) return cancelled();
  for (size_t i = 0; i < plans.size(); ++i)
    demo.result.rows[i].ppl = scores->rows[i].metrics[0].value;
  demo.result.ppl_step = options.step;
  demo.result.ppl_windows = scores->rows[0].windows;
  return {};
}

Result<void> run_stages(Demo& demo) {
  constexpr double kRows = std::size(kPlans) + std::size(kFitted);
  demo.work.total = 1 + kFitUnits * std::size(kFitted) + kRows * (demo.options.facts + kPplUnits);
  KVKEEP_TRY(choose_plans(demo));
  for (const auto& fact : demo.facts) KVKEEP_TRY(ask_all(demo, fact));
  return measure_perplexity(demo);
}

Result<int> demo(const DemoOptions& options) {
  const auto text = text_or_passage(options.text);
  if (!text) return tl::unexpected(text.error());
  const auto model = load_model(options.common);
  if (!model) return tl::unexpected(model.error());
  const auto machine = machine_info();
  if (!machine) return tl::unexpected(machine.error());
  Demo state{options, *model, *text, {}, {}, {}};
  KVKEEP_TRY(hide_facts(state));
  {
    Progress progress("demo");
    state.work.fn = progress.fn();
    const auto stages = run_stages(state);
    if (!stages && stages.error().code != ErrorCode::cancelled)
      return tl::unexpected(stages.error());
    state.result.interrupted = !stages;
  }
  Json json = {{"schema", "kvkeep.demo/1"},
               {"command", command_line()},
               {"model", model_json(model->info())},
               {"machine", machine_json(*machine, options.common.threads)},
               {"interrupted", state.result.interrupted}};
  json.update(demo_json(state.result));
  KVKEEP_TRY(write_out(options.common.json ? json_text(json) : demo_text(state.result)));
  if (!state.result.interrupted) return kExitOk;
  return failed("stopped; {} of {} facts were asked under every plan", state.result.facts,
                options.facts);
}

}  // namespace

void add_demo(CLI::App& app, Action* action) {
  const auto options = std::make_shared<DemoOptions>();
  CLI::App* command = app.add_subcommand("demo", "facts hidden in a book, asked for later");
  add_common(*command, &options->common);
  command->add_option("--text", options->text, "a book, - for standard input (default: ours)");
  command->add_option("--facts", options->facts, "facts to hide and ask for (default: 10)")
      ->check(integer_between(1, 1000));
  command->callback([=] { *action = [options] { return demo(*options); }; });
}

}  // namespace kvkeep
