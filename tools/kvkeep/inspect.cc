// kvkeep inspect: what a model file holds.
#include "eval/inspect.h"

#include <memory>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "command.h"
#include "eval/report.h"

namespace kvkeep {

void add_inspect(CLI::App& app, Action* action) {
  struct Options {
    std::string file;
    bool json = false, tensors = false;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("inspect", "what a GGUF file holds");
  command->add_option("FILE", options->file, "a GGUF file")->required();
  command->add_flag("--tensors", options->tensors, "list every tensor");
  add_json(*command, &options->json);
  command->callback([=] {
    *action = [options]() -> Result<int> {
      const auto report = inspect_gguf(options->file, options->tensors);
      if (!report) return tl::unexpected(report.error());
      KVKEEP_TRY(write_out(options->json ? json_text(*report) : inspect_text(*report)));
      return kExitOk;
    };
  });
}

}  // namespace kvkeep
