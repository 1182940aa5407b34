#include "codec/higgs.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "base/fail.h"
#include "base/half.h"
#include "base/rng.h"
#include "kernels/isa.h"

namespace kvkeep {
namespace {

// The sum of a[i] * b[i] in an order of its own: four chains.
double dot(const float* a, const float* b, int n) {
  double sums[4] = {};
  for (int i = 0; i < n; i += 4)
    for (int j = 0; j < 4; ++j) sums[j] += double{a[i + j]} * b[i + j];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

std::byte* pack(const uint8_t* indices, int count, int bits, std::byte* out) {
  uint32_t word = 0;
  int filled = 0;
  for (int i = 0; i < count; ++i) {
    word |= uint32_t{indices[i]} << filled;
    for (filled += bits; filled >= 8; filled -= 8, word >>= 8) *out++ = std::byte(word & 0xff);
  }
  if (filled > 0) *out++ = std::byte(word & 0xff);
  return out;
}

const std::byte* unpack(const std::byte* in, int count, int bits, uint8_t* indices) {
  uint32_t word = 0;
  int filled = 0;
  for (int i = 0; i < count; ++i) {
    for (; filled < bits; filled += 8) word |= std::to_integer<uint32_t>(*in++) << filled;
    indices[i] = static_cast<uint8_t>(word & ((1u << bits) - 1));
    word >>= bits;
    filled -= bits;
  }
  return in;
}

void look_up(const Grid& grid, const uint8_t* indices, int count, float scale, float* row) {
  const float* points = grid.points.data();
  for (int i = 0; i < count; ++i)
    for (int k = 0; k < grid.p; ++k) *row++ = scale * points[indices[i] * grid.p + k];
}

}  // namespace

Higgs::Higgs(const HiggsSpec& spec, const Grid& grid, int d)
    : grid_(&grid),
      scale_(spec.scale),
      d_(d),
      block_(static_cast<int>(std::bit_floor(static_cast<unsigned>(d)))) {
  Rng rng(spec.seed);
  signs_.resize(static_cast<size_t>(d_ + block_), 1.0f);
  for (float& sign : signs_)
    if (spec.signs) sign = rng.next() >> 63 ? -1.0f : 1.0f;
}

Result<Higgs> Higgs::make(const HiggsSpec& spec, int d) {
  const auto grid = find_grid(spec.p, spec.n);
  if (!grid) return tl::unexpected(grid.error());
  if (d < 8 || d > kMaxLength || d % 8 != 0)
    return bad_input("higgs: rows of {} values; allowed: multiples of 8 from 8 to {}", d,
                     kMaxLength);
  return Higgs(spec, **grid, d);
}

void Higgs::rotate(float* row) const {
  for (int i = 0; i < d_; ++i) row[i] *= signs_[static_cast<size_t>(i)];
  kernels().hadamard(row, 1, d_, block_, block_);
  if (block_ == d_) return;
  float* last = row + (d_ - block_);
  for (int i = 0; i < block_; ++i) last[i] *= signs_[static_cast<size_t>(d_ + i)];
  kernels().hadamard(last, 1, d_, block_, block_);
}

void Higgs::rotate_back(float* row) const {
  if (block_ < d_) {
    float* last = row + (d_ - block_);
    kernels().hadamard(last, 1, d_, block_, block_);
    for (int i = 0; i < block_; ++i) last[i] *= signs_[static_cast<size_t>(d_ + i)];
  }
  kernels().hadamard(row, 1, d_, block_, block_);
  for (int i = 0; i < d_; ++i) row[i] *= signs_[static_cast<size_t>(i)];
}

// What makes x' = scale * points nearest to x, or keeps <x, x'>; rms for HIGGS itself, or where the
// points have nothing of the row.
float Higgs::scale_of(const float* rotated, const uint8_t* indices, float rms) const {
  if (scale_ == HiggsScale::norm) return rms;
  std::vector<float> points(static_cast<size_t>(d_));
  look_up(*grid_, indices, d_ / grid_->p, 1.0f, points.data());
  const double along = dot(rotated, points.data(), d_);
  if (!(along > 0)) return rms;
  if (scale_ == HiggsScale::unbiased) {
    const double scale = dot(rotated, rotated, d_) / along;
    return scale <= 65504.0 ? static_cast<float>(scale) : rms;  // f16's largest
  }
  return static_cast<float>(along / dot(points.data(), points.data(), d_));
}

Result<void> Higgs::encode(const float* rows, int count, std::byte* codes) const {
  const int tuples = d_ / grid_->p;
  std::vector<float> rotated(static_cast<size_t>(d_)), unit(static_cast<size_t>(d_));
  std::vector<uint8_t> indices(static_cast<size_t>(tuples));
  for (int row = 0; row < count; ++row, rows += d_) {
    std::copy_n(rows, d_, rotated.data());
    rotate(rotated.data());
    const double power = dot(rotated.data(), rotated.data(), d_) / d_;
    const auto rms = static_cast<float>(std::sqrt(power));
    const float rounded = f16_to_f32(f32_to_f16(rms));
    const float inverse = rounded > 0.0f ? 1.0f / rounded : 0.0f;
    for (int i = 0; i < d_; ++i)
      unit[static_cast<size_t>(i)] = rotated[static_cast<size_t>(i)] * inverse;
    nearest(*grid_, unit.data(), tuples, indices.data());
    const F16 word =
        f32_to_f16(rounded > 0.0f ? scale_of(rotated.data(), indices.data(), rms) : 0.0f);
    if (!std::isfinite(power) || (word & 0x7c00u) == 0x7c00u)
      return failed("higgs: row {} of {}: a value or the scale is not finite in f16", row, count);
    codes = pack(indices.data(), tuples, grid_->bits(), codes);
    std::memcpy(codes, &word, sizeof word);
    codes += sizeof word;
  }
  return {};
}

void Higgs::decode(const std::byte* codes, int count, float* rows) const {
  const int tuples = d_ / grid_->p;
  std::vector<uint8_t> indices(static_cast<size_t>(tuples));
  for (int row = 0; row < count; ++row, rows += d_) {
    codes = unpack(codes, tuples, grid_->bits(), indices.data());
    F16 word;
    std::memcpy(&word, codes, sizeof word);
    codes += sizeof word;
    look_up(*grid_, indices.data(), tuples, f16_to_f32(word), rows);
    rotate_back(rows);
  }
}

}  // namespace kvkeep
