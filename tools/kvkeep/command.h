// What every subcommand shares: its options, the model, output, exit codes.
//
// A subcommand is one file with one add_ function: it declares its options on the app and sets the
// action that main runs once the command line is known to be sound. Actions return the exit code or
// an error, which main prints as the one line "kvkeep: message" on stderr.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "kvkeep/error.h"
#include "kvkeep/model.h"
#include "kvkeep/plan.h"

namespace kvkeep {

using Action = std::function<Result<int>()>;

void add_run(CLI::App& app, Action* action);
void add_eval(CLI::App& app, Action* action);
void add_methods(CLI::App& app, Action* action);
void add_inspect(CLI::App& app, Action* action);
void add_doctor(CLI::App& app, Action* action);
void add_bench(CLI::App& app, Action* action);
void add_calibrate(CLI::App& app, Action* action);
void add_demo(CLI::App& app, Action* action);

inline constexpr int kExitOk = 0, kExitFailed = 1, kExitBadInput = 2;

struct CommonOptions {
  std::string model;  // empty: the embedded one
  int threads = 0, context = 0;
  uint64_t seed = 0;
  bool json = false;
};

// -m, -t, -c, --seed, --json
void add_common(CLI::App& app, CommonOptions* options);
void add_json(CLI::App& app, bool* json);

// Checks a number's text: the message names what was found and what is allowed.
CLI::Validator number_between(double low, double high);
CLI::Validator integer_between(int64_t low, int64_t high);
// Refuses "": a script's variable that was never set must not pass for an option left out.
CLI::Validator not_empty();

Result<Model> load_model(const CommonOptions& options);
// The context asked for, else `otherwise`, at most the model's; more than that is an error.
Result<int> context_of(const CommonOptions& options, const Model& model, int otherwise);
// A file of this project: in the source tree, or beside the executable's ../.. when that moved.
std::string project_file(const std::string& relative);
// A text file, or standard input for "-".
Result<std::string> read_text(const std::string& path);
// The file the user names, or the passage that comes with the project.
Result<std::string> text_or_passage(const std::string& path);

// bad_input where --calibration is given and no plan would read it.
Result<void> check_calibration(const std::string& path, const std::vector<Plan>& plans);

// "f16 mikv h2o:keep=0.2", what --plans takes.
Result<std::vector<Plan>> parse_plans(const std::string& text);

// Unbuffered; an error names the reason (a full disk).
Result<void> write_out(std::string_view text);

// The arguments as they were typed, for results that must say how they came about.
const std::string& command_line();
void set_command_line(int argc, char** argv);

}  // namespace kvkeep
