#include "codec/chunk_tier.h"

#include <algorithm>

#include "base/check.h"

namespace kvkeep {
namespace {

constexpr int kItemRows = 32;  // decoded by one thread at once

}  // namespace

ChunkTier::ChunkTier(std::shared_ptr<const ChunkCodec> codec, const RopeConfig& rope)
    : codec_(std::move(codec)), rope_(rope) {}

ChunkTier ChunkTier::fork() const {
  ChunkTier copy(codec_, rope_.config());
  copy.chunks_ = chunks_;
  copy.tokens_ = tokens_;
  copy.rows_ = rows_;
  return copy;
}

void ChunkTier::see(int first, std::span<const int32_t> tokens) {
  if (!codec_->from_tokens()) return;
  const size_t all = static_cast<size_t>(first) + tokens.size();
  if (tokens_.capacity() < all) tokens_.reserve(all + 256);  // not twice as many: they are counted
  tokens_.resize(static_cast<size_t>(first));
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
}

void ChunkTier::forget(int from) {
  if (tokens_.size() > static_cast<size_t>(from)) tokens_.resize(static_cast<size_t>(from));
}

Result<void> ChunkTier::append(std::span<const int32_t> positions, int most, const ReadRows& read,
                               ThreadPool* pool) {
  const auto step = static_cast<size_t>(std::min(most, kMostChunkRows));
  const size_t n = (positions.size() + step - 1) / step;
  const ChunkShape& shape = codec_->shape();
  std::vector<Result<Chunk>> made(n);
  const size_t before = chunks_.size();
  pool->run(static_cast<int64_t>(n), [&](int64_t item, int) {
    const size_t first = static_cast<size_t>(item) * step;
    const auto own = positions.subspan(first, std::min(step, positions.size() - first));
    const auto undo_rope = [&](int layer, float* keys, float* values) {
      read(layer, static_cast<int>(first), static_cast<int>(own.size()), keys, values);
      for (const int32_t position : own)
        for (int h = 0; h < shape.kv_heads; ++h, keys += shape.head_dim)
          rope_.apply(keys, position, -1);
    };
    std::vector<int32_t> tokens;
    for (size_t i = 0; codec_->from_tokens() && i < own.size(); ++i)
      tokens.push_back(tokens_[static_cast<size_t>(own[i])]);
    made[static_cast<size_t>(item)] =
        codec_->encode(own, undo_rope, tokens, codec_->is_fine(before + static_cast<size_t>(item)));
  });
  for (auto& chunk : made)
    if (!chunk) return tl::unexpected(chunk.error());
  for (auto& chunk : made) {
    rows_ += chunk->rows;
    chunks_.push_back(std::make_shared<const Chunk>(*std::move(chunk)));
  }
  layer_ = -1;
  return {};
}

void ChunkTier::advance(int layer, ThreadPool* pool) {
  struct Item {
    const Chunk* chunk;
    int first, count;
    ptrdiff_t row;
  };
  std::vector<Item> items;
  ptrdiff_t row = 0;
  for (const auto& chunk : chunks_)
    for (int first = 0; first < chunk->rows; first += kItemRows) {
      const int count = std::min(kItemRows, chunk->rows - first);
      items.push_back({chunk.get(), first, count, row});
      row += count;
    }
  const ptrdiff_t width = codec_->shape().width();
  codec_->unpack(layer, &weights_);
  pool->run(static_cast<int64_t>(items.size()), [&](int64_t i, int) {
    const Item& item = items[static_cast<size_t>(i)];
    codec_->decode(*item.chunk, layer, weights_, item.first, item.count,
                   keys_.data() + item.row * width, values_.data() + item.row * width);
  });
}

void ChunkTier::make_waves() {
  const auto pairs = static_cast<size_t>(rope_.config().dim / 2);
  waves_.resize(static_cast<size_t>(rows_) * 2 * pairs);
  float* wave = waves_.data();
  for (const auto& chunk : chunks_)
    for (int row = 0; row < chunk->rows; ++row, wave += 2 * pairs)
      rope_.angles(chunk->position(row), wave, wave + pairs);
  waved_ = rows_;
}

void ChunkTier::read_layer(int layer, ThreadPool* pool) {
  if (rows_ == 0 || layer == layer_) return;
  if (layer_ < 0 || layer < layer_) {
    const auto rows = static_cast<size_t>(rows_);
    keys_.resize(rows * static_cast<size_t>(codec_->shape().width()));
    values_.resize(keys_.size());
    layer_ = -1;
    if (waved_ != rows_) make_waves();
  }
  while (layer_ < layer) advance(++layer_, pool);
}

void ChunkTier::read(int kv_head, int first, int count, float* keys, float* values) const {
  const ChunkShape& shape = codec_->shape();
  const int pairs = rope_.config().dim / 2;
  ptrdiff_t from = static_cast<ptrdiff_t>(first) * shape.width() + kv_head * shape.head_dim;
  const float* wave = waves_.data() + static_cast<ptrdiff_t>(first) * 2 * pairs;
  for (int row = 0; row < count; ++row, from += shape.width(), wave += 2 * pairs) {
    std::copy_n(keys_.data() + from, shape.head_dim, keys);
    rope_.rotate(keys, wave, wave + pairs);
    std::copy_n(values_.data() + from, shape.head_dim, values);
    keys += shape.head_dim;
    values += shape.head_dim;
  }
}

void ChunkTier::release() {
  keys_ = {};
  values_ = {};
  waves_ = {};
  weights_ = {};
  layer_ = -1;
  waved_ = 0;
}

size_t ChunkTier::bytes() const {
  size_t bytes =
      sizeof *this + chunks_.capacity() * sizeof(chunks_[0]) + tokens_.capacity() * sizeof(int32_t);
  for (const auto& chunk : chunks_) bytes += sizeof(Chunk) + 16 + chunk->bytes.capacity();
  return bytes;
}

size_t ChunkTier::code_bytes() const {
  size_t sides = 0, bytes = 0;  // each with a scale a row
  for (int layer = 0; layer < codec_->shape().layers; ++layer)
    for (const Side side : {Side::key, Side::value})
      sides += codec_->quantizers().codes(layer, side);
  for (const auto& chunk : chunks_)
    bytes +=
        codec_->code_bytes(chunk->rows, chunk->fine) - 2 * sides * static_cast<size_t>(chunk->rows);
  return bytes;
}

size_t ChunkTier::scale_bytes() const {
  size_t bytes = 0;
  for (const auto& chunk : chunks_) bytes += chunk->bytes.size();
  return bytes - code_bytes();
}

size_t ChunkTier::shared_chunk_bytes() const {
  size_t bytes = 0;
  for (const auto& chunk : chunks_)
    if (chunk.use_count() > 1) bytes += chunk->bytes.capacity();
  return bytes;
}

size_t ChunkTier::scratch_bytes() const {
  return keys_.bytes() + values_.bytes() + waves_.bytes() +
         (weights_.key.capacity() + weights_.value.capacity()) * sizeof(float);
}

}  // namespace kvkeep
