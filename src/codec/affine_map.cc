#include "codec/affine_map.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "kernels/isa.h"

namespace kvkeep {
namespace {

constexpr int kGroup = 64;      // inputs that share a scale
constexpr int kTileRows = 32;   // rows whose latent values are held at once
constexpr int kMostRank = 512;  // bounds them

struct MatrixShape {
  int rows = 0, columns = 0;

  size_t size() const { return static_cast<size_t>(rows) * static_cast<size_t>(columns); }
  size_t scales(int bits) const {
    return bits == 16 ? 0 : static_cast<size_t>((rows + kGroup - 1) / kGroup * columns);
  }
  size_t code_bytes(int bits) const { return (size() * static_cast<size_t>(bits) + 7) / 8; }
};

std::vector<MatrixShape> matrices(const MapShape& shape) {
  if (shape.sources == 0) return {};
  const int block = shape.width / shape.heads;
  if (shape.rank > 0) return {{shape.sources * shape.width, shape.rank}, {shape.rank, shape.width}};
  return std::vector<MatrixShape>(static_cast<size_t>(shape.heads), {shape.sources * block, block});
}

F16 load_half(const char* from, size_t i) {
  F16 word;
  std::memcpy(&word, from + i * sizeof word, sizeof word);
  return word;
}

void put_half(std::string* bytes, float value) {
  const F16 word = f32_to_f16(value);
  bytes->append(reinterpret_cast<const char*>(&word), sizeof word);
}

int code_of(const char* codes, size_t i, int bits) {
  if (bits == 8) return static_cast<int8_t>(codes[i]);
  const int nibble = static_cast<uint8_t>(codes[i / 2]) >> (i % 2 * 4) & 15;
  return nibble - 8;
}

// Largest magnitude of 64 inputs of an output becomes the largest code.
std::vector<float> scales_of(const MatrixShape& m, std::span<const float> weights, int bits) {
  const auto most = static_cast<float>((1 << (bits - 1)) - 1);
  std::vector<float> scales(m.scales(bits));
  const auto n = static_cast<size_t>(m.columns);
  for (size_t i = 0; i < static_cast<size_t>(m.rows); ++i)
    for (size_t c = 0; c < n; ++c) {
      float& scale = scales[i / kGroup * n + c];
      scale = std::max(scale, std::fabs(weights[i * n + c]) / most);
    }
  for (float& scale : scales) scale = f16_to_f32(f32_to_f16(scale));
  return scales;
}

void put_matrix(const MatrixShape& m, std::span<const float> weights, int bits,
                std::string* bytes) {
  if (bits == 16) {
    for (const float weight : weights) put_half(bytes, weight);
    return;
  }
  const std::vector<float> scales = scales_of(m, weights, bits);
  const int most = (1 << (bits - 1)) - 1;
  std::string codes(m.code_bytes(bits), '\0');
  const auto n = static_cast<size_t>(m.columns);
  for (size_t i = 0; i < weights.size(); ++i) {
    const float scale = scales[i / n / kGroup * n + i % n];
    const float scaled = scale > 0.0f ? std::rint(weights[i] / scale) : 0.0f;
    const int code = std::clamp(static_cast<int>(scaled), -most, most);
    if (bits == 8) {
      codes[i] = static_cast<char>(code);
    } else {
      codes[i / 2] = static_cast<char>(codes[i / 2] | (code + 8) << (i % 2 * 4));
    }
  }
  *bytes += codes;
  for (const float scale : scales) put_half(bytes, scale);
}

const char* unpack_matrix(const MatrixShape& m, const char* from, int bits, float* out) {
  const char* scales = from + m.code_bytes(bits);
  if (bits == 16) {
    for (size_t i = 0; i < m.size(); ++i) out[i] = f16_to_f32(load_half(from, i));
    return scales;
  }
  const auto n = static_cast<size_t>(m.columns);
  std::vector<float> row(n);
  for (size_t i = 0; i < static_cast<size_t>(m.rows); ++i) {
    if (i % kGroup == 0)
      for (size_t c = 0; c < n; ++c) row[c] = f16_to_f32(load_half(scales, i / kGroup * n + c));
    for (size_t c = 0; c < n; ++c)
      out[i * n + c] = row[c] * static_cast<float>(code_of(from, i * n + c, bits));
  }
  return scales + m.scales(bits) * sizeof(F16);
}

}  // namespace

size_t MapShape::stored_bytes() const {
  size_t bytes = constant ? static_cast<size_t>(width) * sizeof(F16) : 0;
  for (const MatrixShape& m : matrices(*this))
    bytes += m.code_bytes(bits) + m.scales(bits) * sizeof(F16);
  return bytes;
}

size_t MapShape::unpacked_floats() const {
  size_t floats = 0;
  for (const MatrixShape& m : matrices(*this)) floats += m.size();
  return floats;
}

AffineMap::AffineMap(const MapShape& shape, std::span<const float> weights,
                     std::span<const float> bias)
    : shape_(shape) {
  const auto width = static_cast<size_t>(shape.width);
  const auto block = width / static_cast<size_t>(shape.heads);
  const auto all = matrices(shape);
  std::vector<float> own;
  for (size_t i = 0; i < all.size(); ++i) {
    if (shape.rank > 0) {
      put_matrix(all[i], weights.subspan(i ? all[0].size() : 0, all[i].size()), shape.bits,
                 &bytes_);
      continue;
    }
    own.clear();
    for (size_t s = 0; s < static_cast<size_t>(shape.sources); ++s)
      for (size_t row = 0; row < block; ++row) {
        const auto from = weights.subspan((s * width + i * block + row) * width + i * block, block);
        own.insert(own.end(), from.begin(), from.end());
      }
    put_matrix(all[i], own, shape.bits, &bytes_);
  }
  if (shape.constant)
    for (size_t c = 0; c < width; ++c) put_half(&bytes_, bias[c]);
  KVKEEP_CHECK(bytes_.size() == shape.stored_bytes());
  bytes_.shrink_to_fit();
}

void AffineMap::unpack(std::span<float> weights) const {
  const char* from = bytes_.data();
  float* out = weights.data();
  for (const MatrixShape& m : matrices(shape_)) {
    from = unpack_matrix(m, from, shape_.bits, out);
    out += m.size();
  }
}

void AffineMap::apply(std::span<const float> unpacked, std::span<const float* const> sources,
                      int rows, float* out) const {
  const int width = shape_.width, block = width / shape_.heads;
  const char* bias = bytes_.data() + bytes_.size() - static_cast<size_t>(width) * sizeof(F16);
  for (int c = 0; c < width; ++c)
    out[c] = shape_.constant ? f16_to_f32(load_half(bias, static_cast<size_t>(c))) : 0.0f;
  for (int r = 1; r < rows; ++r) std::copy_n(out, width, out + static_cast<ptrdiff_t>(r) * width);
  const auto add = kernels().add_products;
  const float* w = unpacked.data();
  if (shape_.rank > 0) {
    float latent[kTileRows * kMostRank];
    const float* expand = w + static_cast<ptrdiff_t>(shape_.sources) * width * shape_.rank;
    for (int first = 0; first < rows; first += kTileRows) {
      const int n = std::min(kTileRows, rows - first);
      std::fill_n(latent, n * shape_.rank, 0.0f);
      const ptrdiff_t at = static_cast<ptrdiff_t>(first) * width;
      for (int s = 0; s < shape_.sources; ++s)
        add(sources[static_cast<size_t>(s)] + at, width, n,
            w + static_cast<ptrdiff_t>(s) * width * shape_.rank, width, shape_.rank, latent,
            shape_.rank);
      add(latent, shape_.rank, n, expand, shape_.rank, width, out + at, width);
    }
    return;
  }
  for (int h = 0; h < shape_.heads; ++h)
    for (int s = 0; s < shape_.sources; ++s, w += static_cast<ptrdiff_t>(block) * block)
      add(sources[static_cast<size_t>(s)] + h * block, width, rows, w, block, block,
          out + h * block, width);
}

bool AffineMap::read(const MapShape& shape, std::string_view stored, AffineMap* map) {
  KVKEEP_CHECK(stored.size() == shape.stored_bytes());
  map->shape_ = shape;
  map->bytes_ = stored;
  map->bytes_.shrink_to_fit();
  const auto finite = [](const char* from, size_t count) {
    for (size_t i = 0; i < count; ++i)
      if ((load_half(from, i) & 0x7c00u) == 0x7c00u) return false;
    return true;
  };
  const char* from = stored.data();
  for (const MatrixShape& m : matrices(shape)) {
    if (shape.bits == 16 && !finite(from, m.size())) return false;
    from += m.code_bytes(shape.bits);
    if (!finite(from, m.scales(shape.bits))) return false;
    from += m.scales(shape.bits) * sizeof(F16);
  }
  return !shape.constant || finite(from, static_cast<size_t>(shape.width));
}

}  // namespace kvkeep
