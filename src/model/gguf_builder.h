// Tests only: model files written field by field, so that any field can be wrong.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "model/gguf.h"

namespace kvkeep {

class GgufBuilder {
 public:
  GgufBuilder(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
    bytes_ = "GGUF";
    put(version).put(tensors).put(keys);
  }

  template <class T>
  GgufBuilder& put(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  GgufBuilder& text(std::string_view value) {
    put(uint64_t{value.size()});
    bytes_ += value;
    return *this;
  }
  // A key and its type; the value follows with put() or text().
  GgufBuilder& key(std::string_view name, uint32_t type) { return text(name).put(type); }
  GgufBuilder& array(std::string_view name, uint32_t type, uint64_t count) {
    return key(name, 9).put(type).put(count);
  }
  GgufBuilder& tensor(std::string_view name, std::initializer_list<uint64_t> shape, uint32_t type,
                      uint64_t offset) {
    text(name).put(static_cast<uint32_t>(shape.size()));
    for (const uint64_t dim : shape) put(dim);
    return put(type).put(offset);
  }
  // Pads to the alignment, then `size` bytes of tensor data.
  GgufBuilder& data(size_t size, size_t alignment = 32) {
    bytes_.append((alignment - bytes_.size() % alignment) % alignment, '\0');
    bytes_.append(size, '\1');
    return *this;
  }

  const std::string& bytes() const { return bytes_; }
  Result<Gguf> open() const {
    return Gguf::parse(std::as_bytes(std::span(bytes_.data(), bytes_.size())), "m.gguf");
  }
  std::string error() const {
    const auto file = open();
    return file ? "none" : file.error().message;
  }

 private:
  std::string bytes_;
};

}  // namespace kvkeep
