// A plan's text is refused with a line or has a canonical form that parses to itself.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "kvkeep/plan.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto plan = kvkeep::Plan::parse(text);
  if (!plan) {
    KVKEEP_CHECK(!plan.error().message.empty(), "an error without a message");
    return 0;
  }
  const auto again = kvkeep::Plan::parse(plan->canonical());
  KVKEEP_CHECK(again && *again == *plan, "{} is not its own canonical form", plan->canonical());
  return 0;
}
