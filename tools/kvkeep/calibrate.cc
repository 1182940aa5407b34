// kvkeep calibrate: fits the predictors of a plan to a model and writes the file that sessions
// need.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "base/file.h"
#include "command.h"
#include "eval/calibration_report.h"
#include "eval/calibration_text.h"
#include "eval/report.h"
#include "progress.h"

namespace kvkeep {
namespace {

struct CalibrateOptions {
  CommonOptions common;
  std::string plan = "aqua2", text, output;
  int64_t tokens = 131072;
};

constexpr int kDefaultWindow = 2048;

Result<int> run_calibrate(const CalibrateOptions& options) {
  const auto plan = Plan::parse(options.plan);
  if (!plan) return tl::unexpected(plan.error());
  KVKEEP_TRY(check_writable(options.output));
  const auto text = text_or_passage(options.text);
  if (!text) return tl::unexpected(text.error());
  const auto model = load_model(options.common);
  if (!model) return tl::unexpected(model.error());
  const auto context = context_of(options.common, *model, kDefaultWindow);
  if (!context) return tl::unexpected(context.error());
  const auto windows =
      calibration_windows(*model, *text, *context, options.tokens, options.common.seed);
  if (!windows) return tl::unexpected(windows.error());
  Progress progress("calibrate");
  const auto bytes =
      calibrate_to_bytes(*model, *plan, *windows, options.common.threads, progress.fn());
  if (!bytes) return tl::unexpected(bytes.error());
  KVKEEP_TRY(write_file(options.output, *bytes));
  const auto report = calibration_json(*bytes, options.output);
  if (!report) return tl::unexpected(report.error());
  KVKEEP_TRY(write_out(options.common.json ? json_text(*report) : calibration_text(*report)));
  return kExitOk;
}

}  // namespace

void add_calibrate(CLI::App& app, Action* action) {
  const auto options = std::make_shared<CalibrateOptions>();
  CLI::App* command =
      app.add_subcommand("calibrate", "fit the predictors of a plan such as aqua2 to a model");
  add_common(*command, &options->common);
  command->add_option("--plan", options->plan, "a plan with a predictor (default: aqua2)");
  command
      ->add_option("--text", options->text,
                   "prose to read, half of it in random order, - for standard input (default: a "
                   "book); as much again is made-up records")
      ->check(not_empty());
  command->add_option("--tokens", options->tokens, "tokens to read in all (default: 131072)")
      ->check(integer_between(1, int64_t{1} << 40));
  command->add_option("-o,--output", options->output, "the file to write, by custom MODEL.kvcal")
      ->required();
  command->callback([=] { *action = [options] { return run_calibrate(*options); }; });
}

}  // namespace kvkeep
