#include "model/gguf.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "base/fail.h"
#include "model/gguf_reader.h"
#include "model/gguf_values.h"

namespace kvkeep {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint64_t kMaxKeys = 1 << 16, kMaxTensors = 1 << 20, kMaxTensorName = 64;
constexpr uint64_t kMinKeyBytes = 13, kMinTensorBytes = 32;  // of the shortest record
constexpr int64_t kMinAlignment = 8, kMaxAlignment = 1 << 20;
constexpr TensorType kTensorTypes[] = {TensorType::f32,  TensorType::f16,  TensorType::q4_0,
                                       TensorType::q4_1, TensorType::q8_0, TensorType::q4_k,
                                       TensorType::q5_k, TensorType::q6_k, TensorType::bf16};

struct Header {
  uint64_t tensors = 0, keys = 0;
};

Header read_header(GgufReader& reader) {
  const auto magic = reader.read<uint32_t>("magic");
  if (magic != kMagic)
    reader.fail("not a GGUF file: it begins with 0x{:08x}, not 0x{:08x}", magic, kMagic);
  const auto version = reader.read<uint32_t>("version");
  if (version == 0x02000000 || version == 0x03000000)
    reader.fail("the file is big-endian, only little-endian files are read");
  if (version != 2 && version != 3) reader.fail("version is {}, allowed are 2 and 3", version);
  Header header;
  header.tensors = reader.read_count("tensor count", kMinTensorBytes, kMaxTensors);
  header.keys = reader.read_count("key count", kMinKeyBytes, kMaxKeys);
  return header;
}

// Multiplies sizes; false on overflow.
bool multiply(int64_t& product, int64_t factor) {
  return !__builtin_mul_overflow(product, factor, &product);
}

void read_shape(GgufReader& reader, Tensor& tensor) {
  const auto dims = reader.read<uint32_t>("dimension count of " + tensor.name);
  if (dims < 1 || dims > 4)
    reader.fail("tensor '{}' has {} dimensions, allowed are 1 to 4", tensor.name, dims);
  for (uint32_t i = 0; i < dims && reader.ok(); ++i) {
    const auto dim = reader.read<uint64_t>("shape of " + tensor.name);
    if (dim < 1 || dim > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      reader.fail("tensor '{}': dimension {} is {}, allowed are 1 to {}", tensor.name, i, dim,
                  std::numeric_limits<int64_t>::max());
    tensor.shape.push_back(static_cast<int64_t>(dim));
  }
}

void read_tensor_type(GgufReader& reader, Tensor& tensor) {
  const auto number = reader.read<uint32_t>("type of " + tensor.name);
  std::string allowed;
  for (const TensorType type : kTensorTypes) {
    if (number == static_cast<uint32_t>(type)) {
      tensor.type = type;
      return;
    }
    allowed += fmt::format(" {}={}", tensor_type_name(type), static_cast<uint32_t>(type));
  }
  reader.fail("tensor '{}' has type {}, read are{}", tensor.name, number, allowed);
}

// Bytes of the whole tensor, or 0 with the reader failed.
int64_t tensor_bytes(GgufReader& reader, const Tensor& tensor) {
  if (!reader.ok()) return 0;
  const BlockSize block = tensor_block_size(tensor.type);
  if (tensor.columns() % block.values != 0)
    reader.fail("tensor '{}' has {} columns, {} needs a multiple of {}", tensor.name,
                tensor.columns(), tensor_type_name(tensor.type), block.values);
  int64_t values = 1, bytes = 0;
  bool fits = true;
  for (const int64_t dim : tensor.shape) fits = fits && multiply(values, dim);
  bytes = values / block.values;
  if (!fits || !multiply(bytes, block.bytes))
    reader.fail("tensor '{}' has more values than 64 bits count", tensor.name);
  return reader.ok() ? bytes : 0;
}

// One record of the tensor table; data covers the right number of bytes at offset `start` of the
// data section once place_tensors() has seen it.
struct TensorRecord {
  Tensor tensor;
  uint64_t offset = 0;
};

TensorRecord read_tensor(GgufReader& reader, uint64_t index) {
  TensorRecord record;
  record.tensor.name =
      printable(reader.read_string(fmt::format("name of tensor {}", index), kMaxTensorName));
  if (record.tensor.name.empty()) reader.fail("tensor {} has no name", index);
  read_shape(reader, record.tensor);
  read_tensor_type(reader, record.tensor);
  record.offset = reader.read<uint64_t>("offset of " + record.tensor.name);
  return record;
}

uint64_t read_alignment(GgufReader& reader,
                        const std::map<std::string, GgufValue, std::less<>>& metadata) {
  const auto it = metadata.find("general.alignment");
  if (it == metadata.end()) return 32;
  const auto* value = std::get_if<int64_t>(&it->second);
  if (!value)
    reader.fail("general.alignment is {}, an integer is needed", gguf_value_kind(it->second));
  else if (*value < kMinAlignment || *value > kMaxAlignment ||
           !std::has_single_bit(static_cast<uint64_t>(*value)))
    reader.fail("general.alignment is {}, allowed are powers of two from {} to {}", *value,
                kMinAlignment, kMaxAlignment);
  return reader.ok() ? static_cast<uint64_t>(*value) : 32;
}

void place_tensor(GgufReader& reader, TensorRecord& record, std::span<const std::byte> data,
                  uint64_t alignment) {
  const auto size = static_cast<uint64_t>(tensor_bytes(reader, record.tensor));
  if (record.offset % alignment != 0)
    reader.fail("tensor '{}': offset {} is no multiple of the alignment {}", record.tensor.name,
                record.offset, alignment);
  if (record.offset > data.size() || size > data.size() - record.offset)
    reader.fail("tensor '{}': {} bytes at offset {} leave the file, whose data has {} bytes",
                record.tensor.name, size, record.offset, data.size());
  if (reader.ok())
    record.tensor.data =
        data.subspan(static_cast<size_t>(record.offset), static_cast<size_t>(size));
}

// No byte belongs to two tensors: converted weights would take more memory than the file.
void check_overlap(GgufReader& reader, const std::vector<Tensor>& tensors) {
  std::vector<const Tensor*> order;
  for (const Tensor& tensor : tensors)
    if (!tensor.data.empty()) order.push_back(&tensor);
  std::sort(order.begin(), order.end(),
            [](const Tensor* a, const Tensor* b) { return a->data.data() < b->data.data(); });
  for (size_t i = 1; i < order.size(); ++i)
    if (order[i]->data.data() < order[i - 1]->data.data() + order[i - 1]->data.size())
      reader.fail("tensors '{}' and '{}' overlap", order[i - 1]->name, order[i]->name);
}

}  // namespace

int64_t Tensor::rows() const {
  int64_t rows = shape.empty() ? 0 : 1;
  for (size_t i = 1; i < shape.size(); ++i) rows *= shape[i];
  return rows;
}

Result<Gguf> Gguf::open(const std::string& path) {
  auto file = MappedFile::open(path);
  if (!file) return tl::unexpected(std::move(file).error());
  auto gguf = parse(file->bytes(), path);
  if (gguf) gguf->file_.push_back(std::move(*file));
  return gguf;
}

Result<Gguf> Gguf::parse(std::span<const std::byte> bytes, const std::string& name) {
  GgufReader reader(bytes, name);
  Gguf gguf;
  gguf.path_ = name;
  const Header header = read_header(reader);
  gguf.metadata_ = read_gguf_metadata(reader, header.keys);
  const uint64_t alignment = read_alignment(reader, gguf.metadata_);
  std::vector<TensorRecord> records;
  for (uint64_t i = 0; i < header.tensors && reader.ok(); ++i)
    records.push_back(read_tensor(reader, i));
  const uint64_t start = (reader.position() + alignment - 1) / alignment * alignment;
  const auto data = start < bytes.size() ? bytes.subspan(start) : std::span<const std::byte>();
  for (TensorRecord& record : records) {
    place_tensor(reader, record, data, alignment);
    if (!gguf.index_.emplace(record.tensor.name, gguf.tensors_.size()).second)
      reader.fail("tensor '{}' stands twice", record.tensor.name);
    gguf.tensors_.push_back(std::move(record.tensor));
  }
  if (reader.ok()) check_overlap(reader, gguf.tensors_);
  if (!reader.ok()) return tl::unexpected(reader.error());
  return gguf;
}

}  // namespace kvkeep
