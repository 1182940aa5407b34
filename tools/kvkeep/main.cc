// The command line: one subcommand, one action, one exit code (docs/design.md, section 5).
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>

#include "command.h"
#include "eval/machine.h"
#include "interrupt.h"
#include "kvkeep/version.h"

namespace kvkeep {
namespace {

// One line whatever the message holds: names of files may contain line feeds.
int complain(std::string message, int code) {
  std::replace_if(
      message.begin(), message.end(),
      [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; }, ' ');
  std::fprintf(stderr, "kvkeep: %s\n", message.c_str());
  return code;
}

int complain(const Error& error) {
  return complain(error.message, error.code == ErrorCode::bad_input ? kExitBadInput : kExitFailed);
}

// CLI11 would only say that a subcommand is missing.
std::string unknown_subcommand(const CLI::App& app, int argc, char** argv) {
  const auto commands = app.get_subcommands([](const CLI::App*) { return true; });
  if (commands.empty() || argc < 2 || argv[1][0] == '-') return "";
  std::string names;
  for (const CLI::App* command : commands) {
    if (command->get_name() == argv[1]) return unknown_subcommand(*command, argc - 1, argv + 1);
    names += (names.empty() ? "" : ", ") + command->get_name();
  }
  return fmt::format("unknown subcommand '{}'; allowed: {}", argv[1], names);
}

int run(int argc, char** argv) {
  CLI::App app("kvkeep compresses the key-value cache of a language model and keeps every token");
  app.set_version_flag("--version", std::string("kvkeep ") + kVersion);
  app.require_subcommand(1);
  Action action;
  for (const auto add : {add_run, add_eval, add_methods, add_inspect, add_doctor, add_bench,
                         add_calibrate, add_demo})
    add(app, &action);
  if (const auto problem = unknown_subcommand(app, argc, argv); !problem.empty())
    return complain(problem, kExitBadInput);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    return complain(std::string(error.what()) + " (see kvkeep --help)", kExitBadInput);
  }
  // Before any work: a name in KVKEEP_ISA that cannot run must not fall back to another.
  if (const auto machine = machine_info(); !machine) return complain(machine.error());
  const auto code = action();
  return code ? *code : complain(code.error());
}

}  // namespace
}  // namespace kvkeep

int main(int argc, char** argv) {
  kvkeep::set_command_line(argc, argv);
  kvkeep::catch_interrupts();
  try {
    return kvkeep::run(argc, argv);
  } catch (const std::bad_alloc&) {
    return kvkeep::complain("out of memory", kvkeep::kExitFailed);
  } catch (const std::exception& error) {
    return kvkeep::complain(error.what(), kvkeep::kExitFailed);
  }
}
