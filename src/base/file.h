// Files as bytes: read-only mappings for models and whole-file reads. Every error names the path
// and the reason.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "kvkeep/error.h"

namespace kvkeep {

class MappedFile {
 public:
  static Result<MappedFile> open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  MappedFile() = default;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// The whole file; bad_input when it cannot be read or is larger than max_bytes.
Result<std::string> read_file(const std::string& path, size_t max_bytes = size_t{1} << 30);

}  // namespace kvkeep
