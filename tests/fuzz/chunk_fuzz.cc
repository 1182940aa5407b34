// A chunk is refused with a line, or every layer of it decodes. The checksum in its header is put
// right, so that what stands behind it is reached.
#include <xxhash.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "codec/chunk.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvkeep;
  constexpr ChunkShape kShape{3, 1, 16};
  static const ChunkCodec codec =
      *ChunkCodec::make(*Plan::parse("aqua2:predictor=none"), kShape, nullptr);
  constexpr size_t kHeader = 32, kSum = 24;
  const auto* begin = reinterpret_cast<const std::byte*>(data);
  std::vector<std::byte> bytes(begin, begin + size);
  if (size >= kHeader) {
    std::memset(bytes.data() + kSum, 0, sizeof(uint64_t));
    const uint64_t seed = XXH64(bytes.data(), kHeader, 0);
    const uint64_t sum = XXH64(bytes.data() + kHeader, size - kHeader, seed);
    std::memcpy(bytes.data() + kSum, &sum, sizeof sum);
  }
  const auto chunk = codec.parse(bytes);
  if (!chunk) {
    KVKEEP_CHECK(!chunk.error().message.empty(), "an error without a message");
    return 0;
  }
  const auto width = static_cast<size_t>(kShape.width());
  std::vector<float> keys(static_cast<size_t>(chunk->rows) * width), values(keys.size());
  for (int layer = 0; layer < kShape.layers; ++layer)
    codec.decode(*chunk, layer, {}, 0, chunk->rows, keys.data(), values.data());
  return 0;
}
