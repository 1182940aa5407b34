// Recall from a dictionary: short keys and values, so nearly every row matters. At most 100
// entries: with more the embedded model mixes keys up even on the exact cache.
#include <fmt/format.h>

#include "eval/record.h"

namespace kvkeep {

const RecordStyle& dictionary_style() {
  static const RecordStyle style = {
      .head = "Dictionary:\n",
      .digits = 4,
      .most = 100,
      .key = noun_key,
      .entry = [](const std::string& key,
                  const std::string& value) { return fmt::format("{}: {}\n", key, value); },
      .ask = [](const std::string& key) { return fmt::format("Question: {}\nAnswer:", key); }};
  return style;
}

Result<TaskResult> run_kv_recall(const TaskInput& in) {
  const auto make = [](const TaskInput& input, int index) {
    return make_record(input, dictionary_style(), index);
  };
  return run_recall(in, {.name = "kv_recall", .end = '\n', .make = make, .lead = " "});
}

}  // namespace kvkeep
