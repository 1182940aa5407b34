// A cursor over the bytes of an untrusted GGUF file. The first broken field stops it: every later
// read returns zeros, so that parsing code reads straight on and asks ok() where it loops.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/fail.h"
#include "model/unicode.h"

namespace kvkeep {

class GgufReader {
 public:
  GgufReader(std::span<const std::byte> bytes, std::string name)
      : bytes_(bytes), name_(std::move(name)) {}

  bool ok() const { return message_.empty(); }
  Error error() const { return {ErrorCode::bad_input, message_}; }
  size_t position() const { return at_; }
  size_t remaining() const { return bytes_.size() - at_; }

  // Records the first failure as "file: text".
  template <class... A>
  void fail(fmt::format_string<A...> format, A&&... args) {
    if (ok()) message_ = name_ + ": " + fmt::format(format, std::forward<A>(args)...);
  }

  // The next sizeof(T) bytes, little-endian.
  template <class T>
  T read(std::string_view field) {
    T value{};
    if (need(sizeof(T), field)) {
      std::memcpy(&value, bytes_.data() + at_, sizeof(T));
      at_ += sizeof(T);
    }
    return value;
  }

  // A 64-bit count of things that take at least `bytes_each` bytes of this file each.
  uint64_t read_count(std::string_view field, uint64_t bytes_each, uint64_t most);
  // A length and that many bytes, viewed in place.
  std::string_view read_string(std::string_view field, uint64_t most);

 private:
  bool need(uint64_t size, std::string_view field);

  std::span<const std::byte> bytes_;
  std::string name_;
  size_t at_ = 0;
  std::string message_;
};

}  // namespace kvkeep
