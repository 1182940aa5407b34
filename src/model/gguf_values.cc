#include "model/gguf_values.h"

#include <limits>
#include <utility>

namespace kvkeep {
namespace {

constexpr uint64_t kMaxKeyBytes = 65535;
constexpr uint64_t kMaxTextBytes = uint64_t{1} << 24;
constexpr uint64_t kMaxElements = uint64_t{1} << 24;  // of all arrays together

// The format's numbers of value types.
enum class ValueType : uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  text = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};
constexpr uint64_t kBytesOfType[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};  // at least

ValueType read_type(GgufReader& reader, const std::string& field) {
  const auto type = reader.read<uint32_t>(field);
  if (type > static_cast<uint32_t>(ValueType::f64))
    reader.fail("{} has value type {}, allowed are 0 to 12", field, type);
  return reader.ok() ? static_cast<ValueType>(type) : ValueType::u8;
}

int64_t read_u64(GgufReader& reader, const std::string& field) {
  const auto value = reader.read<uint64_t>(field);
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    reader.fail("{} is {}, at most {} allowed", field, value, std::numeric_limits<int64_t>::max());
  return reader.ok() ? static_cast<int64_t>(value) : 0;
}

bool read_bool(GgufReader& reader, const std::string& field) {
  const auto value = reader.read<uint8_t>(field);
  if (value > 1) reader.fail("{} is {}, a boolean is 0 or 1", field, value);
  return value == 1;
}

int64_t read_integer(GgufReader& reader, ValueType type, const std::string& field) {
  switch (type) {
    case ValueType::u8:
      return reader.read<uint8_t>(field);
    case ValueType::i8:
      return reader.read<int8_t>(field);
    case ValueType::u16:
      return reader.read<uint16_t>(field);
    case ValueType::i16:
      return reader.read<int16_t>(field);
    case ValueType::u32:
      return reader.read<uint32_t>(field);
    case ValueType::i32:
      return reader.read<int32_t>(field);
    case ValueType::i64:
      return reader.read<int64_t>(field);
    case ValueType::boolean:
      return read_bool(reader, field);
    default:
      return read_u64(reader, field);
  }
}

double read_number(GgufReader& reader, ValueType type, const std::string& field) {
  return type == ValueType::f32 ? static_cast<double>(reader.read<float>(field))
                                : reader.read<double>(field);
}

template <class T, class Read>
GgufValue read_elements(GgufReader& reader, uint64_t count, const Read& read) {
  std::vector<T> values;
  values.reserve(static_cast<size_t>(count));
  for (uint64_t i = 0; i < count && reader.ok(); ++i) values.push_back(T(read()));
  return GgufArray(std::move(values));
}

GgufValue read_array(GgufReader& reader, const std::string& field, uint64_t& elements_left) {
  const ValueType type = read_type(reader, field);
  if (type == ValueType::array)
    reader.fail("{} is an array of arrays, allowed are arrays of values", field);
  const uint64_t each = kBytesOfType[static_cast<size_t>(type)];
  const uint64_t count = reader.read_count("length of " + field, each, elements_left);
  elements_left -= count;
  switch (type) {
    case ValueType::text:
      return read_elements<std::string>(reader, count,
                                        [&] { return reader.read_string(field, kMaxTextBytes); });
    case ValueType::f32:
    case ValueType::f64:
      return read_elements<double>(reader, count, [&] { return read_number(reader, type, field); });
    default:
      return read_elements<int64_t>(reader, count,
                                    [&] { return read_integer(reader, type, field); });
  }
}

GgufValue read_value(GgufReader& reader, const std::string& field, uint64_t& elements_left) {
  const ValueType type = read_type(reader, field);
  switch (type) {
    case ValueType::text:
      return std::string(reader.read_string(field, kMaxTextBytes));
    case ValueType::boolean:
      return read_bool(reader, field);
    case ValueType::f32:
    case ValueType::f64:
      return read_number(reader, type, field);
    case ValueType::array:
      return read_array(reader, field, elements_left);
    default:
      return read_integer(reader, type, field);
  }
}

}  // namespace

std::map<std::string, GgufValue, std::less<>> read_gguf_metadata(GgufReader& reader,
                                                                 uint64_t count) {
  std::map<std::string, GgufValue, std::less<>> metadata;
  uint64_t elements_left = kMaxElements;
  for (uint64_t i = 0; i < count && reader.ok(); ++i) {
    std::string key(reader.read_string(fmt::format("key {}", i), kMaxKeyBytes));
    if (key.empty()) reader.fail("key {} is empty", i);
    const std::string field = "value of key '" + printable(key) + "'";
    if (metadata.contains(key)) reader.fail("key '{}' stands twice", printable(key));
    GgufValue value = read_value(reader, field, elements_left);
    if (reader.ok()) metadata.emplace(std::move(key), std::move(value));
  }
  return metadata;
}

const char* gguf_value_kind(const GgufValue& value) {
  static constexpr const char* kScalars[] = {"integer", "number", "boolean", "text"};
  static constexpr const char* kArrays[] = {"array of integers", "array of numbers",
                                            "array of texts"};
  if (const auto* array = std::get_if<GgufArray>(&value)) return kArrays[array->index()];
  return kScalars[value.index()];
}

}  // namespace kvkeep
