// A zero-initialised array of plain values on a 64-byte boundary (one cache line, one AVX-512
// register). Grows like a vector does not: resize() may lose the contents.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <type_traits>

namespace kvkeep {

template <class T>
class AlignedBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t size) { resize(size); }
  AlignedBuffer(const AlignedBuffer& other) {
    resize(other.size_);
    if (size_ > 0) std::memcpy(data(), other.data(), size_ * sizeof(T));
  }
  AlignedBuffer(AlignedBuffer&&) noexcept = default;
  AlignedBuffer& operator=(AlignedBuffer&&) noexcept = default;

  // Contents are zero after new memory was taken, else what they were.
  void resize(size_t size) {
    if (size > capacity_) {
      const size_t wanted = std::max(size, capacity_ + capacity_ / 2);  // growing ones grow rarely
      const size_t bytes = (wanted * sizeof(T) + 63) / 64 * 64;
      data_.reset(static_cast<T*>(std::aligned_alloc(64, bytes)));
      if (!data_) throw std::bad_alloc();
      std::memset(data_.get(), 0, bytes);
      capacity_ = bytes / sizeof(T);
    }
    size_ = size;
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  size_t size() const { return size_; }
  size_t bytes() const { return capacity_ * sizeof(T); }
  T& operator[](size_t i) { return data_.get()[i]; }
  const T& operator[](size_t i) const { return data_.get()[i]; }
  std::span<T> span() { return {data(), size_}; }
  std::span<const T> span() const { return {data(), size_}; }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
  size_t size_ = 0, capacity_ = 0;
};

}  // namespace kvkeep
