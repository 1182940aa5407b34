// kvkeep methods: every method and preset this build knows.
#include <memory>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "command.h"
#include "eval/methods_doc.h"
#include "eval/report.h"

namespace kvkeep {

void add_methods(CLI::App& app, Action* action) {
  struct Options {
    bool json = false, markdown = false;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("methods", "list the methods of every slot, and presets");
  add_json(*command, &options->json);
  command->add_flag("--markdown", options->markdown, "print docs/methods.md");
  command->callback([=] {
    *action = [options]() -> Result<int> {
      if (options->json && options->markdown)
        return bad_input("--json and --markdown exclude each other");
      KVKEEP_TRY(write_out(options->json       ? json_text(methods_json())
                           : options->markdown ? methods_markdown()
                                               : methods_text()));
      return kExitOk;
    };
  });
}

}  // namespace kvkeep
