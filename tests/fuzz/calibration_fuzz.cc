// A calibration file is refused with a line, or the maps of its first and last layer can be
// applied. The checksum at the end is put right, so that what stands before it is reached.
#include <xxhash.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "base/check.h"
#include "codec/calibration.h"

namespace kvkeep {
namespace {

void apply(const AffineMap& map) {
  const auto width = static_cast<size_t>(map.shape().width);
  const std::vector<float> source(width, 1.0f);
  const std::vector<const float*> sources(static_cast<size_t>(map.shape().sources), source.data());
  std::vector<float> weights(map.shape().unpacked_floats()), out(width);
  map.unpack(weights);
  map.apply(weights, sources, 1, out.data());
}

}  // namespace
}  // namespace kvkeep

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvkeep;
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (size >= sizeof(uint64_t)) {
    const size_t body = size - sizeof(uint64_t);
    const uint64_t sum = XXH64(bytes.data(), body, 0);
    std::memcpy(bytes.data() + body, &sum, sizeof sum);
  }
  const auto read = Calibration::parse(bytes, "fuzz");
  if (!read) {
    KVKEEP_CHECK(!read.error().message.empty(), "an error without a message");
    return 0;
  }
  for (const int layer : {0, read->key().layers - 1})
    for (const Side side : {Side::key, Side::value}) apply(read->map(layer, side));
  KVKEEP_CHECK(read->bytes() == bytes, "a file that reads but does not write back");
  return 0;
}
