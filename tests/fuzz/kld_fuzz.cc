// A reference of task kld is refused with a line, or read with every number in its range. The
// checksum at the end is put right, so that what stands before it is reached.
#include <xxhash.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "base/check.h"
#include "eval/predictions.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr int kVocab = 16;
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (size >= sizeof(uint64_t)) {
    const size_t body = size - sizeof(uint64_t);
    const uint64_t sum = XXH64(bytes.data(), body, 0);
    std::memcpy(bytes.data() + body, &sum, sizeof sum);
  }
  const auto windows = kvkeep::parse_predictions(bytes, "fuzz", {1, 2, 128, 32, 0, kVocab});
  if (!windows) {
    KVKEEP_CHECK(!windows.error().message.empty(), "an error without a message");
    return 0;
  }
  const float logits[kVocab] = {};
  for (const auto& window : *windows)
    for (size_t i = 0; i < window.size(); ++i)
      KVKEEP_CHECK(window.divergence(i, logits) >= 0, "a negative divergence at {}", i);
  return 0;
}
