// Line retrieval as in LongEval (Li et al. 2023): lines with a name and a number fill the context.
#include <fmt/format.h>

#include "eval/record.h"

namespace kvkeep {

const RecordStyle& lines_style() {
  static const RecordStyle style = {
      .head = "Below is a record of lines to remember.\n",
      .digits = 5,
      .most = 10000,
      .key = compound_key,
      .entry =
          [](const std::string& key, const std::string& value) {
            return fmt::format("line {}: REGISTER_CONTENT is <{}>\n", key, value);
          },
      .ask =
          [](const std::string& key) {
            return fmt::format(
                "What is the REGISTER_CONTENT in line {0}? The REGISTER_CONTENT in line {0} is <",
                key);
          }};
  return style;
}

Result<TaskResult> run_lines(const TaskInput& in) {
  const auto make = [](const TaskInput& input, int index) {
    return make_record(input, lines_style(), index);
  };
  return run_recall(in, {.name = "lines", .end = '>', .make = make, .lead = ""});
}

}  // namespace kvkeep
