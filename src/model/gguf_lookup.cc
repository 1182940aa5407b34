// Typed look-ups in the metadata and the tensor table of an open file.
#include "base/fail.h"
#include "model/gguf.h"
#include "model/gguf_values.h"

namespace kvkeep {
namespace {

using Metadata = std::map<std::string, GgufValue, std::less<>>;

template <class T>
const T* get(const Metadata& metadata, std::string_view key) {
  const auto it = metadata.find(key);
  return it == metadata.end() ? nullptr : std::get_if<T>(&it->second);
}

template <class T>
const std::vector<T>* get_array(const Metadata& metadata, std::string_view key) {
  const auto* array = get<GgufArray>(metadata, key);
  return array ? std::get_if<std::vector<T>>(array) : nullptr;
}

template <class T>
Result<T> require(const Gguf& file, std::string_view key, const char* kind) {
  if (const T* value = get<T>(file.metadata(), key)) return *value;
  const auto it = file.metadata().find(key);
  if (it == file.metadata().end()) return bad_input("{}: key '{}' is missing", file.path(), key);
  return bad_input("{}: key '{}' is {}, {} is needed", file.path(), key,
                   gguf_value_kind(it->second), kind);
}

}  // namespace

const Tensor* Gguf::find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

Result<int64_t> Gguf::integer(std::string_view key) const {
  return require<int64_t>(*this, key, "integer");
}

int64_t Gguf::integer(std::string_view key, int64_t otherwise) const {
  const auto* value = get<int64_t>(metadata_, key);
  return value ? *value : otherwise;
}

double Gguf::number(std::string_view key, double otherwise) const {
  if (const auto* value = get<double>(metadata_, key)) return *value;
  const auto* value = get<int64_t>(metadata_, key);
  return value ? static_cast<double>(*value) : otherwise;
}

bool Gguf::boolean(std::string_view key, bool otherwise) const {
  const auto* value = get<bool>(metadata_, key);
  return value ? *value : otherwise;
}

Result<std::string> Gguf::text(std::string_view key) const {
  return require<std::string>(*this, key, "text");
}

std::string Gguf::text(std::string_view key, std::string_view otherwise) const {
  const auto* value = get<std::string>(metadata_, key);
  return value ? *value : std::string(otherwise);
}

Result<void> Gguf::expect(std::span<const Expected> keys) const {
  for (const auto& [key, kind] : keys) {
    const auto it = metadata_.find(key);
    if (it == metadata_.end()) continue;
    const bool integral = get<int64_t>(metadata_, key) != nullptr;
    bool fits = false;
    const char* wanted = "";
    switch (kind) {
      case Kind::integer:
        fits = integral, wanted = "an integer";
        break;
      case Kind::number:
        fits = integral || get<double>(metadata_, key), wanted = "a number";
        break;
      case Kind::boolean:
        fits = get<bool>(metadata_, key), wanted = "true or false";
        break;
      case Kind::text:
        fits = get<std::string>(metadata_, key), wanted = "text";
        break;
      case Kind::integers:
        fits = integers(key), wanted = "an array of integers";
        break;
    }
    if (!fits)
      return bad_input("{}: key '{}' is {}, {} is needed", path_, key, gguf_value_kind(it->second),
                       wanted);
  }
  return {};
}

const std::vector<std::string>* Gguf::strings(std::string_view key) const {
  return get_array<std::string>(metadata_, key);
}

const std::vector<int64_t>* Gguf::integers(std::string_view key) const {
  return get_array<int64_t>(metadata_, key);
}

const std::vector<double>* Gguf::numbers(std::string_view key) const {
  return get_array<double>(metadata_, key);
}

}  // namespace kvkeep
