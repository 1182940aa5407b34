#include "codec/crush.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <numeric>

#include "base/fail.h"
#include "kernels/isa.h"

namespace kvkeep {
namespace {

using Number = uint16_t;  // of a row in its chunk

void put_bits(std::byte* to, size_t at, int bits, unsigned value) {
  for (int i = 0; i < bits; ++i, ++at)
    if (value >> i & 1) to[at / 8] |= std::byte(1u << at % 8);
}

unsigned get_bits(const std::byte* from, size_t at, int bits) {
  unsigned value = 0;
  for (int i = 0; i < bits; ++i, ++at)
    value |= (std::to_integer<unsigned>(from[at / 8]) >> at % 8 & 1) << i;
  return value;
}

// x_i . x_j of all rows, each sum in order: the same on every machine.
std::vector<float> products(const float* rows, int count, int width) {
  const auto n = static_cast<size_t>(count), d = static_cast<size_t>(width);
  std::vector<float> columns(n * d), dots(n * n);
  for (size_t i = 0; i < n; ++i)
    for (size_t c = 0; c < d; ++c) columns[c * n + i] = rows[i * d + c];
  kernels().add_products(rows, width, count, columns.data(), width, count, dots.data(), count);
  return dots;
}

// Where the parts of a side begin.
struct Parts {
  size_t index, representatives, others;
};

Parts parts_of(const CrushForm& form, int representatives, int rows, size_t code_bytes) {
  Parts parts;
  parts.index = static_cast<size_t>(representatives) * sizeof(Number);
  const int bits = representatives > 0 ? rows * form.index_bits : 0;
  parts.representatives = parts.index + static_cast<size_t>((bits + 7) / 8);
  parts.others = parts.representatives + static_cast<size_t>(representatives) * code_bytes;
  return parts;
}

}  // namespace

Crush::Crush(const CrushForm& form, int heads, Higgs representative, Higgs other)
    : form_(form),
      heads_(heads),
      representative_(std::move(representative)),
      other_(std::move(other)) {}

int Crush::representatives(int rows) const {
  return std::min((1 << form_.index_bits) - 1, rows / 4);
}

size_t Crush::bytes(int rows) const {
  const int r = representatives(rows);
  return parts_of(form_, r, rows, representative_.row_bytes()).others +
         static_cast<size_t>(rows - r) * other_.row_bytes();
}

// Signatures [count][heads]: is this head's part of the row longer than that of the median row?
Crush::Near Crush::make_near(const float* rows, int count) const {
  if (form_.near >= heads_) return [](size_t, size_t) { return true; };
  const auto n = static_cast<size_t>(count), h = static_cast<size_t>(heads_);
  const size_t part = static_cast<size_t>(other_.length()) / h;
  std::vector<uint8_t> bits(n * h);
  std::vector<float> length(n), sorted(n);
  for (size_t head = 0; head < h; ++head) {
    for (size_t row = 0; row < n; ++row) {
      const float* x = rows + (row * h + head) * part;
      const float power = std::inner_product(x, x + part, x, 0.0f);
      length[row] = std::isfinite(power) ? power : 0.0f;
    }
    sorted = length;
    const auto middle = sorted.begin() + count / 2;
    std::nth_element(sorted.begin(), middle, sorted.end());
    for (size_t row = 0; row < n; ++row) bits[row * h + head] = length[row] > *middle;
  }
  return [bits = std::move(bits), h, most = form_.near](size_t a, size_t b) {
    const auto *one = bits.data() + a * h, *other = bits.data() + b * h;
    return std::inner_product(one, one + h, other, 0, std::plus<>(), std::not_equal_to<>()) <= most;
  };
}

// Ascending numbers of the rows that together take most power off the others.
std::vector<int> Crush::pick(const std::vector<float>& dots, int count, const Near& near) const {
  const auto n = static_cast<size_t>(count);
  const float g = form_.gain;
  const auto taken = [&](size_t row, size_t by) {
    return near(row, by) ? 2 * g * dots[row * n + by] - g * g * dots[by * n + by] : 0.0f;
  };
  std::vector<float> best(n);
  std::vector<int> picked;
  for (int r = representatives(count); r > 0; --r) {
    float most = -1;
    size_t next = 0;
    for (size_t by = 0; by < n; ++by) {
      float sum = 0;
      for (size_t row = 0; row < n; ++row) sum += std::max(taken(row, by) - best[row], 0.0f);
      const bool is_new =
          std::find(picked.begin(), picked.end(), static_cast<int>(by)) == picked.end();
      if (is_new && !(sum <= most)) most = sum, next = by;  // also where a sum is not a number
    }
    picked.push_back(static_cast<int>(next));
    for (size_t row = 0; row < n; ++row) best[row] = std::max(best[row], taken(row, next));
  }
  std::sort(picked.begin(), picked.end());
  return picked;
}

Result<void> Crush::encode(float* rows, int count, std::byte* codes) const {
  const int width = other_.length(), r = representatives(count);
  if (r == 0) {
    KVKEEP_TRY(other_.encode(rows, count, codes));
    other_.decode(codes, count, rows);
    return {};
  }
  const auto d = static_cast<size_t>(width);
  const Parts parts = parts_of(form_, r, count, representative_.row_bytes());
  const Near near = make_near(rows, count);
  const std::vector<int> picked = pick(products(rows, count, width), count, near);
  std::fill_n(codes, parts.representatives, std::byte(0));
  std::vector<float> decoded(static_cast<size_t>(r) * d);
  for (size_t i = 0; i < picked.size(); ++i) {
    const auto number = static_cast<Number>(picked[i]);
    std::memcpy(codes + i * sizeof number, &number, sizeof number);
    std::byte* code = codes + parts.representatives + i * representative_.row_bytes();
    KVKEEP_TRY(representative_.encode(rows + static_cast<size_t>(picked[i]) * d, 1, code));
    representative_.decode(code, 1, decoded.data() + i * d);
  }
  std::byte* code = codes + parts.others;
  for (int row = 0; row < count; ++row) {
    if (std::binary_search(picked.begin(), picked.end(), row)) continue;
    float* x = rows + static_cast<size_t>(row) * d;
    double most = 0;
    unsigned index = 0;
    for (size_t i = 0; i < picked.size(); ++i) {
      if (!near(static_cast<size_t>(row), static_cast<size_t>(picked[i]))) continue;
      double taken = 0;
      const float* by = decoded.data() + i * d;
      for (size_t c = 0; c < d; ++c)
        taken += double{form_.gain * by[c]} * (2.0 * x[c] - form_.gain * by[c]);
      if (taken > most) most = taken, index = static_cast<unsigned>(i + 1);
    }
    const float* by = index > 0 ? decoded.data() + (index - 1) * d : nullptr;
    for (size_t c = 0; by && c < d; ++c) x[c] -= form_.gain * by[c];
    put_bits(codes + parts.index, static_cast<size_t>(row * form_.index_bits), form_.index_bits,
             index);
    KVKEEP_TRY(other_.encode(x, 1, code));
    code += other_.row_bytes();
  }
  decode(codes, count, 0, count, rows);
  return {};
}

void Crush::decode(const std::byte* codes, int count, int first, int n, float* rows) const {
  const int r = representatives(count);
  const auto d = static_cast<size_t>(other_.length());
  if (r == 0) {
    other_.decode(codes + static_cast<size_t>(first) * other_.row_bytes(), n, rows);
    return;
  }
  const Parts parts = parts_of(form_, r, count, representative_.row_bytes());
  std::vector<int> picked;
  for (int i = 0; i < r; ++i) {
    Number number;
    std::memcpy(&number, codes + static_cast<size_t>(i) * sizeof number, sizeof number);
    picked.push_back(number);
  }
  std::vector<float> decoded(static_cast<size_t>(r) * d);
  representative_.decode(codes + parts.representatives, r, decoded.data());
  for (int row = first; row < first + n; ++row, rows += d) {
    const auto below = std::lower_bound(picked.begin(), picked.end(), row);
    const auto before = static_cast<size_t>(below - picked.begin());
    if (below != picked.end() && *below == row) {
      std::copy_n(decoded.data() + before * d, d, rows);
      continue;
    }
    // Bytes that no encoder wrote decode to something as well, within the chunk.
    const int other = std::clamp(row - static_cast<int>(before), 0, count - r - 1);
    other_.decode(codes + parts.others + static_cast<size_t>(other) * other_.row_bytes(), 1, rows);
    const unsigned index = get_bits(codes + parts.index,
                                    static_cast<size_t>(row * form_.index_bits), form_.index_bits);
    if (index == 0 || index > static_cast<unsigned>(r)) continue;
    const float* by = decoded.data() + (index - 1) * d;
    for (size_t c = 0; c < d; ++c) rows[c] += form_.gain * by[c];
  }
}

}  // namespace kvkeep
