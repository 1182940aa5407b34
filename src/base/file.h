// Files as bytes: read-only mappings for models, whole-file reads and whole-file writes. Every
// error names the path and the reason.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

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

// Whether write_file() can put a file there, for asking before long work: bad_input when the name
// is taken by something else than a file, or its folder takes no new files. Leaves nothing behind.
Result<void> check_writable(const std::string& path);
// The file appears whole or not at all: it is written beside its name and renamed at the end. One
// that is replaced keeps its permissions.
Result<void> write_file(const std::string& path, std::string_view bytes);

}  // namespace kvkeep
