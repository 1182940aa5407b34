#include "model/gguf_reader.h"

#include <algorithm>
#include <bit>

namespace kvkeep {

static_assert(std::endian::native == std::endian::little, "GGUF is read in place");

bool GgufReader::need(uint64_t size, std::string_view field) {
  if (size > remaining())
    fail("{} ends the file early: {} bytes needed at offset {}, {} left", field, size, at_,
         remaining());
  return ok();
}

uint64_t GgufReader::read_count(std::string_view field, uint64_t bytes_each, uint64_t most) {
  const auto count = read<uint64_t>(field);
  const uint64_t limit = std::min<uint64_t>(most, remaining() / bytes_each);
  if (count > limit)
    fail("{} is {}, at most {} {}", field, count, limit,
         limit < most ? "fit the rest of the file" : "allowed");
  return ok() ? count : 0;
}

std::string_view GgufReader::read_string(std::string_view field, uint64_t most) {
  const auto length = read<uint64_t>(field);
  if (length > most) fail("{} has {} bytes, at most {} allowed", field, length, most);
  if (!ok() || !need(length, field)) return {};
  const auto* start = reinterpret_cast<const char*>(bytes_.data() + at_);
  at_ += static_cast<size_t>(length);
  return {start, static_cast<size_t>(length)};
}

}  // namespace kvkeep
