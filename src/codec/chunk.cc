#include "codec/chunk.h"

#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/fail.h"
#include "base/half.h"

namespace kvkeep {
namespace {

constexpr uint32_t kMagic = 0x3143564b;      // "KVC1"
constexpr uint32_t kFineMagic = 0x3146564b;  // "KVF1": a fine chunk
constexpr const char* kFinest = "p2n256";    // 4 bits

struct Header {
  uint32_t magic = kMagic, rows = 0, layers = 0, width = 0;
  int32_t first = 0;            // position of row 0
  uint32_t position_bytes = 0;  // of a row's distance to it; 0: rows follow one another
  uint64_t checksum = 0;        // XXH64 of the chunk with this field zero
};

Header header_of(std::span<const std::byte> bytes) {
  Header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  return header;
}

uint64_t checksum(std::span<const std::byte> bytes) {
  Header header = header_of(bytes);
  header.checksum = 0;
  const uint64_t seed = XXH64(&header, sizeof header, 0);
  return XXH64(bytes.data() + sizeof header, bytes.size() - sizeof header, seed);
}

size_t bit_of(int layer, Side side) {
  return static_cast<size_t>(2 * layer + (side == Side::value));
}

void append(std::vector<std::byte>* bytes, const void* from, size_t n) {
  const auto* begin = static_cast<const std::byte*>(from);
  bytes->insert(bytes->end(), begin, begin + n);
}

uint32_t position_bytes(std::span<const int32_t> positions) {
  const int32_t span = positions.back() - positions.front();
  if (static_cast<size_t>(span) + 1 == positions.size()) return 0;
  return span < 65536 ? 2 : 4;
}

// Whether a chunk does better with its own mean than with what was predicted: the residual is more
// than the rows themselves, or by so much more than their variance that the mean is worth its bits
// (16 / n of a value, and a bit less is worth a factor of 4 in power).
bool prefers_mean(const float* rows, const float* predicted, int n, int width,
                  std::vector<float>* mean) {
  mean->assign(static_cast<size_t>(width), 0.0f);
  double residual = 0, power = 0, around = 0;
  for (int c = 0; c < width; ++c) {
    double sum = 0, square = 0;
    for (int r = 0; r < n; ++r) {
      const ptrdiff_t at = static_cast<ptrdiff_t>(r) * width + c;
      const double x = rows[at], left = x - predicted[at];
      sum += x;
      square += x * x;
      residual += left * left;
    }
    (*mean)[static_cast<size_t>(c)] = f16_to_f32(f32_to_f16(static_cast<float>(sum / n)));
    power += square;
    around += square - sum * sum / n;
  }
  // Written so that a residual that is no number falls back as well.
  return !(residual <= power && residual <= around * std::exp2(32.0 / n));
}

void fill_rows(std::span<const float> mean, int rows, float* out) {
  for (int r = 0; r < rows; ++r) out = std::copy(mean.begin(), mean.end(), out);
}

void add_rows(const float* from, size_t n, float* to) {
  for (size_t i = 0; i < n; ++i) to[i] += from[i];
}

}  // namespace

bool Chunk::falls_back(int layer, Side side) const {
  const size_t bit = bit_of(layer, side);
  return (std::to_integer<unsigned>(bytes[flags + bit / 8]) >> bit % 8 & 1) != 0;
}

int Chunk::position(int row) const {
  const Header header = header_of(bytes);
  uint32_t distance = 0;
  if (header.position_bytes == 0) distance = static_cast<uint32_t>(row);
  std::memcpy(&distance,
              bytes.data() + sizeof header + static_cast<size_t>(row) * header.position_bytes,
              header.position_bytes);
  return static_cast<int>(static_cast<uint32_t>(header.first) + distance);
}

Result<ChunkCodec> ChunkCodec::make(const Plan& plan, const ChunkShape& shape,
                                    std::shared_ptr<const Calibration> calibration,
                                    TokenRows tokens) {
  const PredictorForm form = make_predictor(plan.slot("predictor"));
  if (form.calibrated()) {
    if (!calibration)
      return bad_input(
          "plan: predictor={} needs a calibration of this model; kvkeep calibrate makes one, and "
          "--calibration FILE names it",
          plan.slot("predictor").method);
    const CalibrationKey& key = calibration->key();
    if (key.plan != calibration_plan(plan) || key.layers != shape.layers ||
        key.kv_heads != shape.kv_heads || key.head_dim != shape.head_dim)
      return bad_input("the calibration is for another plan: {}, {} layers of {} x {}", key.plan,
                       key.layers, key.kv_heads, key.head_dim);
  }
  auto quantizers = ChunkQuantizers::make(plan, shape.width());
  if (!quantizers) return tl::unexpected(quantizers.error());
  if (quantizers->from_tokens && !tokens.read)
    return bad_input("plan: slot 'low', chunk: first=token needs a model that makes layer 0");
  return ChunkCodec(shape, std::move(calibration), *std::move(quantizers), form.crush,
                    std::move(tokens), plan.slot("low").number("fine"));
}

ChunkCodec::ChunkCodec(const ChunkShape& shape, std::shared_ptr<const Calibration> calibration,
                       ChunkQuantizers quantizers, const CrushForm& form, TokenRows tokens,
                       double fine)
    : shape_(shape),
      calibration_(std::move(calibration)),
      quantizers_(std::move(quantizers)),
      key_(make_coder(form, quantizers_.key)),
      value_(make_coder(form, quantizers_.value)),
      first_(make_coder(form, quantizers_.first)),
      finest_(form, shape.kv_heads, quantizers_.finest, quantizers_.finest),
      tokens_(std::move(tokens)),
      fine_(fine) {}

// As many of the first n as their share of n, rounded down.
bool ChunkCodec::is_fine(size_t n) const {
  const auto of = [&](size_t chunks) { return std::floor(fine_ * static_cast<double>(chunks)); };
  return of(n + 1) > of(n);
}

Result<ChunkQuantizers> ChunkQuantizers::make(const Plan& plan, int width) {
  const Plan::Slot& low = plan.slot("low");
  const std::string scale = low.param("scale");
  const auto make_one = [&](const std::string& grid) {  // "p4n256"
    HiggsSpec spec;
    spec.p = grid[1] - '0';
    spec.n = std::stoi(grid.substr(3));
    spec.scale = scale == "norm"            ? HiggsScale::norm
                 : scale == "least_squares" ? HiggsScale::least_squares
                                            : HiggsScale::unbiased;
    return Higgs::make(spec, width);
  };
  const std::string k = low.param("k"), v = low.param("v");
  const bool from_tokens = low.param("first") == "token";
  const bool codes_values = v != "none";
  auto key = make_one(k), value = make_one(codes_values ? v : k),
       first = make_one(from_tokens ? k : low.param("first")), finest = make_one(kFinest);
  for (const auto* made : {&key, &value, &first, &finest})
    if (!*made) return tl::unexpected(made->error());
  ChunkQuantizers all{
      *std::move(key),    *std::move(value), *std::move(first), *std::move(finest), {}, k, v,
      low.param("first"), from_tokens,       codes_values};
  const std::string grid = plan.slot("predictor").param("grid");
  if (grid.empty() || grid == "same") return all;
  auto representative = make_one(grid);
  if (!representative) return tl::unexpected(representative.error());
  all.representative = *std::move(representative);
  return all;
}

size_t ChunkCodec::side_bytes(int layer, Side side, int rows, bool fine) const {
  return quantizers_.codes(layer, side) ? coder(layer, side, fine).bytes(rows) : 0;
}

size_t ChunkCodec::code_bytes(int rows, bool fine) const {
  size_t bytes = 0;
  for (int layer = 0; layer < shape_.layers; ++layer)
    for (const Side side : {Side::key, Side::value}) bytes += side_bytes(layer, side, rows, fine);
  return bytes;
}

double ChunkCodec::paper_bits_per_value() const {
  constexpr int kRows = 128;
  const double bytes = (1 - fine_) * static_cast<double>(code_bytes(kRows)) +
                       fine_ * static_cast<double>(code_bytes(kRows, true)) +
                       static_cast<double>(kRows * token_bytes());
  return 8.0 * bytes / (2.0 * kRows * shape_.layers * shape_.width());
}

void ChunkCodec::unpack(int layer, Weights* weights) const {
  if (layer == 0 && from_tokens()) return tokens_.unpack(&weights->key, &weights->value);
  if (!calibration_) return;
  for (const Side side : {Side::key, Side::value}) {
    const AffineMap& map = calibration_->map(layer, side);
    auto& to = side == Side::key ? weights->key : weights->value;
    to.resize(map.shape().unpacked_floats());
    map.unpack(to);
  }
}

void ChunkCodec::predict(int layer, Side side, const Weights& weights, const float* keys_below,
                         const float* values_below, const float* keys, int rows, float* out) const {
  if (!calibration_) {
    std::fill_n(out, static_cast<ptrdiff_t>(rows) * shape_.width(), 0.0f);
    return;
  }
  std::vector<const float*> from;
  for (const Source source : calibration_->form().sources(layer, side))
    from.push_back(source == Source::key         ? keys
                   : source == Source::key_below ? keys_below
                                                 : values_below);
  calibration_->map(layer, side)
      .apply(side == Side::key ? weights.key : weights.value, from, rows, out);
}

const std::byte* ChunkCodec::codes(const Chunk& chunk, int layer, Side side) const {
  const auto both = [&](int l) {
    return side_bytes(l, Side::key, chunk.rows, chunk.fine) +
           side_bytes(l, Side::value, chunk.rows, chunk.fine);
  };
  size_t at = chunk.codes;
  if (layer > 0) at += both(0) + static_cast<size_t>(layer - 1) * both(1);
  if (side == Side::value) at += side_bytes(layer, Side::key, chunk.rows, chunk.fine);
  return chunk.bytes.data() + at;
}

// Codes one side of a layer and makes `rows` what the decoder will have; a mean goes to `means`.
Result<bool> ChunkCodec::encode_side(int layer, Side side, int n, bool fine,
                                     std::vector<float>* predicted, std::vector<float>* rows,
                                     std::byte* codes, std::vector<std::byte>* means) const {
  std::vector<float> mean;
  const bool falls_back =
      calibration_ && prefers_mean(rows->data(), predicted->data(), n, shape_.width(), &mean);
  if (falls_back) {
    for (const float x : mean) {
      const F16 word = f32_to_f16(x);
      append(means, &word, sizeof word);
    }
    fill_rows(mean, n, predicted->data());
  }
  if (quantizers_.codes(layer, side)) {
    for (size_t i = 0; i < rows->size(); ++i) (*rows)[i] -= (*predicted)[i];
    KVKEEP_TRY(coder(layer, side, fine).encode(rows->data(), n, codes));
    add_rows(rows->data(), rows->size(), predicted->data());
  }
  rows->swap(*predicted);
  return falls_back;
}

Result<Chunk> ChunkCodec::encode(std::span<const int32_t> positions, const ReadLayer& read,
                                 std::span<const int32_t> tokens, bool fine) const {
  const int n = static_cast<int>(positions.size());
  KVKEEP_CHECK(n > 0 && n <= kMostChunkRows, "{} rows", n);
  KVKEEP_CHECK(!from_tokens() || tokens.size() == positions.size(), "{} tokens", tokens.size());
  const auto values = static_cast<size_t>(n) * static_cast<size_t>(shape_.width());
  std::vector<float> keys(values), values_of(values), keys_below(values), values_below(values),
      predicted(values);
  std::vector<std::byte> flags((2 * static_cast<size_t>(shape_.layers) + 7) / 8), means,
      codes(code_bytes(n, fine));
  std::byte* out = codes.data();
  Weights weights;
  if (from_tokens()) {
    unpack(0, &weights);
    tokens_.read(tokens, weights.key, weights.value, keys_below.data(), values_below.data());
  }
  for (int layer = from_tokens() ? 1 : 0; layer < shape_.layers; ++layer) {
    read(layer, keys.data(), values_of.data());
    unpack(layer, &weights);
    for (const Side side : {Side::key, Side::value}) {
      predict(layer, side, weights, keys_below.data(), values_below.data(), keys.data(), n,
              predicted.data());
      const auto fell = encode_side(layer, side, n, fine, &predicted,
                                    side == Side::key ? &keys : &values_of, out, &means);
      if (!fell)
        return failed("layer {}, {}, positions {} to {}: {}", layer,
                      side == Side::key ? "keys" : "values", positions.front(), positions.back(),
                      fell.error().message);
      if (*fell) flags[bit_of(layer, side) / 8] |= std::byte(1u << bit_of(layer, side) % 8);
      out += side_bytes(layer, side, n, fine);
    }
    std::swap(keys_below, keys);
    std::swap(values_below, values_of);
  }
  return assemble(fine, positions, tokens, flags, means, codes);
}

Chunk ChunkCodec::assemble(bool fine, std::span<const int32_t> positions,
                           std::span<const int32_t> tokens, std::span<const std::byte> flags,
                           std::span<const std::byte> means,
                           std::span<const std::byte> codes) const {
  Header header;
  if (fine) header.magic = kFineMagic;
  header.rows = static_cast<uint32_t>(positions.size());
  header.layers = static_cast<uint32_t>(shape_.layers);
  header.width = static_cast<uint32_t>(shape_.width());
  header.first = positions.front();
  header.position_bytes = position_bytes(positions);
  Chunk chunk;
  chunk.rows = static_cast<int>(positions.size());
  chunk.fine = fine;
  chunk.tokens = sizeof header + header.position_bytes * positions.size();
  chunk.flags = chunk.tokens + token_bytes() * positions.size();
  chunk.means = chunk.flags + flags.size();
  chunk.codes = chunk.means + means.size();
  chunk.bytes.reserve(chunk.codes + codes.size());
  append(&chunk.bytes, &header, sizeof header);
  for (const int32_t position : positions) {
    const auto distance = static_cast<uint32_t>(position - positions.front());
    append(&chunk.bytes, &distance, header.position_bytes);  // little endian
  }
  for (size_t i = 0; from_tokens() && i < tokens.size(); ++i)
    append(&chunk.bytes, &tokens[i], token_bytes());
  for (const auto& part : {flags, means, codes}) append(&chunk.bytes, part.data(), part.size());
  const uint64_t sum = checksum(chunk.bytes);
  std::memcpy(chunk.bytes.data() + offsetof(Header, checksum), &sum, sizeof sum);
  return chunk;
}

// Adds to predicted rows what was coded of them, or puts the chunk's own mean in their place first.
void ChunkCodec::decode_side(const Chunk& chunk, int layer, Side side, int first, int count,
                             float* rows) const {
  const auto width = static_cast<size_t>(shape_.width());
  if (chunk.falls_back(layer, side)) {
    size_t before = 0;
    for (size_t bit = 0; bit < bit_of(layer, side); ++bit)
      before += chunk.falls_back(static_cast<int>(bit / 2), bit % 2 ? Side::value : Side::key);
    std::vector<float> mean(width);
    for (size_t c = 0; c < width; ++c) {
      F16 word;
      std::memcpy(&word, chunk.bytes.data() + chunk.means + (before * width + c) * sizeof word,
                  sizeof word);
      mean[c] = f16_to_f32(word);
    }
    fill_rows(mean, count, rows);
  }
  if (!quantizers_.codes(layer, side)) return;
  std::vector<float> decoded(static_cast<size_t>(count) * width);
  coder(layer, side, chunk.fine)
      .decode(codes(chunk, layer, side), chunk.rows, first, count, decoded.data());
  add_rows(decoded.data(), decoded.size(), rows);
}

void ChunkCodec::decode_tokens(const Chunk& chunk, const Weights& weights, int first, int count,
                               float* keys, float* values) const {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  const size_t bytes = token_bytes();
  for (size_t i = 0; i < tokens.size(); ++i)
    std::memcpy(&tokens[i],
                chunk.bytes.data() + chunk.tokens + (static_cast<size_t>(first) + i) * bytes,
                bytes);
  tokens_.read(tokens, weights.key, weights.value, keys, values);
}

void ChunkCodec::decode(const Chunk& chunk, int layer, const Weights& weights, int first, int count,
                        float* keys, float* values) const {
  if (layer == 0 && from_tokens()) return decode_tokens(chunk, weights, first, count, keys, values);
  const auto size = static_cast<size_t>(count) * static_cast<size_t>(shape_.width());
  std::vector<float> key(size), value(size);
  predict(layer, Side::key, weights, keys, values, nullptr, count, key.data());
  decode_side(chunk, layer, Side::key, first, count, key.data());
  predict(layer, Side::value, weights, keys, values, key.data(), count, value.data());
  decode_side(chunk, layer, Side::value, first, count, value.data());
  std::copy(key.begin(), key.end(), keys);
  std::copy(value.begin(), value.end(), values);
}

Result<Chunk> ChunkCodec::parse(std::span<const std::byte> bytes) const {
  const auto damaged = [] { return bad_input("the bytes are no sound chunk"); };
  if (bytes.size() < sizeof(Header)) return damaged();
  const Header header = header_of(bytes);
  const bool fine = header.magic == kFineMagic;
  if ((header.magic != kMagic && !fine) || header.rows == 0 || header.rows > kMostChunkRows)
    return damaged();
  if (header.layers != static_cast<uint32_t>(shape_.layers) ||
      header.width != static_cast<uint32_t>(shape_.width()))
    return bad_input("the chunk has {} layers of {} values; allowed here: {} of {}", header.layers,
                     header.width, shape_.layers, shape_.width());
  if (header.position_bytes != 0 && header.position_bytes != 2 && header.position_bytes != 4)
    return damaged();
  if (checksum(bytes) != header.checksum) return damaged();
  Chunk chunk;
  chunk.rows = static_cast<int>(header.rows);
  chunk.fine = fine;
  chunk.tokens = sizeof header + size_t{header.position_bytes} * header.rows;
  chunk.flags = chunk.tokens + token_bytes() * header.rows;
  const size_t flag_bytes = (2 * size_t{header.layers} + 7) / 8;
  chunk.means = chunk.flags + flag_bytes;
  if (bytes.size() < chunk.means) return damaged();
  chunk.bytes.assign(bytes.begin(), bytes.end());
  size_t fallbacks = 0;
  for (int layer = 0; layer < shape_.layers; ++layer)
    for (const Side side : {Side::key, Side::value}) fallbacks += chunk.falls_back(layer, side);
  chunk.codes = chunk.means + fallbacks * header.width * sizeof(F16);
  if (bytes.size() != chunk.codes + code_bytes(chunk.rows, fine)) return damaged();
  for (size_t row = 0; from_tokens() && row < header.rows; ++row) {
    uint32_t token = 0;
    std::memcpy(&token, bytes.data() + chunk.tokens + row * token_bytes(), token_bytes());
    if (token >= static_cast<uint32_t>(tokens_.vocab)) return damaged();
  }
  int64_t last = -1;
  for (int row = 0; row < chunk.rows; ++row) {
    if (chunk.position(row) <= last) return damaged();
    last = chunk.position(row);
  }
  return chunk;
}

}  // namespace kvkeep
