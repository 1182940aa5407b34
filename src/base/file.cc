#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/fail.h"

namespace kvkeep {
namespace {

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

// Opens for reading and returns the size; only regular files have one.
Result<size_t> regular_size(const std::string& path, int fd) {
  struct stat info {};
  if (fd < 0 || ::fstat(fd, &info) != 0)
    return bad_input("cannot open '{}': {}", path, std::strerror(errno));
  if (!S_ISREG(info.st_mode)) return bad_input("'{}' is not a regular file", path);
  return static_cast<size_t>(info.st_size);
}

// A new file gets what open() would give it.
mode_t mode_of(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0) return info.st_mode & 0777;
  const mode_t mask = ::umask(0);
  ::umask(mask);
  return 0666 & ~mask;
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return ::fsync(fd) == 0;
}

// A new file beside `path`, whose name replaces *temporary.
Result<int> create_beside(const std::string& path, std::string* temporary) {
  struct stat info {};
  if (path.empty()) return bad_input("cannot write to a file without a name");
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode))
    return bad_input("cannot write '{}': it exists and is not a regular file", path);
  *temporary = path + ".XXXXXX";
  const int fd = ::mkostemp(temporary->data(), O_CLOEXEC);
  if (fd < 0) return bad_input("cannot write '{}': {}", path, std::strerror(errno));
  return fd;
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  const auto size = regular_size(path, file.fd);
  if (!size) return tl::unexpected(size.error());
  if (*size == 0) return bad_input("'{}' is empty", path);
  void* data = ::mmap(nullptr, *size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) return failed("cannot map '{}': {}", path, std::strerror(errno));
  MappedFile mapped;
  mapped.data_ = static_cast<const std::byte*>(data);
  mapped.size_ = *size;
  return mapped;
}

MappedFile::MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

Result<std::string> read_file(const std::string& path, size_t max_bytes) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  const auto size = regular_size(path, file.fd);
  if (!size) return tl::unexpected(size.error());
  if (*size > max_bytes)
    return bad_input("'{}' has {} bytes; at most {} are read", path, *size, max_bytes);
  std::string text(*size, '\0');
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = ::read(file.fd, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return bad_input("cannot read '{}': {}", path, std::strerror(errno));
    if (n == 0) text.resize(done);
    done += static_cast<size_t>(n);
  }
  return text;
}

Result<void> check_writable(const std::string& path) {
  std::string temporary;
  const auto fd = create_beside(path, &temporary);
  if (!fd) return tl::unexpected(fd.error());
  ::close(*fd);
  ::unlink(temporary.c_str());
  return {};
}

Result<void> write_file(const std::string& path, std::string_view bytes) {
  std::string temporary;
  const auto fd = create_beside(path, &temporary);
  if (!fd) return tl::unexpected(fd.error());
  const Descriptor file{*fd};
  if (write_all(*fd, bytes) && ::fchmod(*fd, mode_of(path)) == 0 &&
      ::rename(temporary.c_str(), path.c_str()) == 0)
    return {};
  const int reason = errno;
  ::unlink(temporary.c_str());
  return failed("cannot write '{}': {}", path, std::strerror(reason));
}

}  // namespace kvkeep
