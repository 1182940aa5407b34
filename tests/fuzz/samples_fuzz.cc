// JSON Lines of samples are refused with a line that names name and line, or have a question each.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "eval/data.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto samples = kvkeep::parse_samples(text, "fuzz");
  if (!samples) {
    KVKEEP_CHECK(samples.error().message.starts_with("fuzz"), "{}", samples.error().message);
    return 0;
  }
  for (const auto& sample : *samples)
    KVKEEP_CHECK(sample.questions.size() == 1 && !sample.questions[0].answers.empty(),
                 "a sample without a question or an answer");
  return 0;
}
