// kvkeep inspect: what a model file or a calibration holds.
#include "eval/inspect.h"

#include <memory>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "command.h"
#include "eval/calibration_report.h"
#include "eval/report.h"

namespace kvkeep {

void add_inspect(CLI::App& app, Action* action) {
  struct Options {
    std::string file;
    bool json = false, tensors = false;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("inspect", "what a GGUF file or a calibration holds");
  command->add_option("FILE", options->file, "a GGUF file, or what kvkeep calibrate wrote")
      ->required();
  command->add_flag("--tensors", options->tensors, "list every tensor");
  add_json(*command, &options->json);
  command->callback([=] {
    *action = [options]() -> Result<int> {
      if (is_calibration(options->file)) {
        const auto calibration = inspect_calibration(options->file);
        if (!calibration) return tl::unexpected(calibration.error());
        KVKEEP_TRY(
            write_out(options->json ? json_text(*calibration) : calibration_text(*calibration)));
        return kExitOk;
      }
      const auto report = inspect_gguf(options->file, options->tensors);
      if (!report) return tl::unexpected(report.error());
      KVKEEP_TRY(write_out(options->json ? json_text(*report) : inspect_text(*report)));
      return kExitOk;
    };
  });
}

}  // namespace kvkeep
