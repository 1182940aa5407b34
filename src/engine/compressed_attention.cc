#include "engine/compressed_attention.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/fail.h"

namespace kvkeep {

CompressedAttention::CompressedAttention(Pipeline pipeline, Sequence cache,
                                         std::optional<ChunkTier> chunks,
                                         const AttentionShape& shape, ThreadPool* pool)
    : shape_(shape),
      pipeline_(std::move(pipeline)),
      cache_(std::move(cache)),
      chunks_(std::move(chunks)),
      pool_(pool),
      decode_(&pipeline_, {shape.kv_heads, shape.gqa_ratio(), shape.head_dim}),
      prefill_(&pipeline_, {shape.kv_heads, shape.gqa_ratio(), shape.head_dim}) {}

Result<std::unique_ptr<CompressedAttention>> CompressedAttention::make(
    const Plan& plan, const AttentionShape& shape, const RopeConfig& rope, int context,
    ThreadPool* pool, std::shared_ptr<const Calibration> calibration, TokenRows tokens) {
  auto pipeline = Pipeline::make(
      plan, {shape.layers, shape.kv_heads, shape.head_dim, context, rope, shape.gqa_ratio()});
  if (!pipeline) return tl::unexpected(pipeline.error());
  Sequence cache(shape.layers, shape.kv_heads, pipeline->tier_shapes());
  std::optional<ChunkTier> chunks;
  if (pipeline->chunks()) {
    auto codec = ChunkCodec::make(plan, {shape.layers, shape.kv_heads, shape.head_dim},
                                  std::move(calibration), std::move(tokens));
    if (!codec) return tl::unexpected(codec.error());
    chunks.emplace(std::make_shared<const ChunkCodec>(*std::move(codec)), rope);
  }
  return std::unique_ptr<CompressedAttention>(new CompressedAttention(
      *std::move(pipeline), std::move(cache), std::move(chunks), shape, pool));
}

std::unique_ptr<CompressedAttention> CompressedAttention::fork(ThreadPool* pool) const {
  std::optional<ChunkTier> chunks;
  if (chunks_) chunks.emplace(chunks_->fork());
  std::unique_ptr<CompressedAttention> copy(
      new CompressedAttention(pipeline_.fork(), cache_.fork(), std::move(chunks), shape_, pool));
  copy->tokens_ = tokens_;
  copy->peak_bytes_ = copy->resident_bytes();
  return copy;
}

int CompressedAttention::most_taken_back() const {
  int least = 0, most = tokens_;  // what can be taken back can be taken back in part
  const auto all_heads = [&](int n) {
    for (int layer = 0; layer < shape_.layers; ++layer)
      for (int head = 0; head < shape_.kv_heads; ++head)
        if (!pipeline_.can_take_back(cache_, {layer, head}, tokens_ - n, tokens_)) return false;
    return true;
  };
  while (least < most) {
    const int middle = (least + most + 1) / 2;
    if (all_heads(middle)) {
      least = middle;
    } else {
      most = middle - 1;
    }
  }
  return least;
}

void CompressedAttention::take_back(int tokens) {
  for (int layer = 0; layer < shape_.layers; ++layer)
    for (int head = 0; head < shape_.kv_heads; ++head)
      pipeline_.take_back(&cache_, {layer, head}, tokens_ - tokens);
  tokens_ -= tokens;
  if (chunks_) chunks_->forget(tokens_);
  cache_.compact();
}

Result<void> CompressedAttention::append(const AttentionCall& call) {
  const auto append_head = [&](int head) -> Result<void> {
    for (int t = 0; t < call.tokens; ++t) {
      const auto row = (static_cast<ptrdiff_t>(t) * shape_.kv_heads + head) * shape_.head_dim;
      KVKEEP_TRY(pipeline_.append(&cache_, {call.layer, head}, call.first_position + t,
                                  call.k + row, call.v + row));
    }
    return {};
  };
  std::vector<Result<void>> results(static_cast<size_t>(shape_.kv_heads));
  const auto work = [&](int64_t head, int) {
    results[static_cast<size_t>(head)] = append_head(static_cast<int>(head));
  };
  if (call.tokens == 1) {  // a few hundred bytes a head: not worth waking threads
    for (int head = 0; head < shape_.kv_heads; ++head) work(head, 0);
  } else {
    pool_->run(shape_.kv_heads, work);
  }
  for (auto& result : results) KVKEEP_TRY(result);
  if (chunks_ && chunks_->codec().from_tokens() && call.layer == 0) {
    KVKEEP_CHECK(call.ids);
    chunks_->see(call.first_position, {call.ids, static_cast<size_t>(call.tokens)});
  }
  if (call.layer + 1 == shape_.layers) {
    cache_.settle();
    tokens_ = call.first_position + call.tokens;
    peak_bytes_ = std::max(peak_bytes_, resident_bytes());
  }
  return {};
}

Result<void> CompressedAttention::enter(const AttentionCall& call, ThreadPool* pool) {
  KVKEEP_TRY(append(call));
  pipeline_.observe_queries(call.layer, call.q, call.tokens, shape_.gqa_ratio(),
                            call.first_position);
  if (chunks_) chunks_->read_layer(call.layer, pool);
  return {};
}

Result<void> CompressedAttention::attend(const AttentionCall& call) {
  KVKEEP_TRY(enter(call, pool_));
  if (call.tokens == 1) {
    const DecodeRead read = decode_read(call);
    DecodeAttention::attend({&read, 1}, call.layer, pool_);
  } else {
    prefill_.attend(&cache_, call.layer, call.tokens, call.q, call.out, pool_, chunks());
  }
  return {};
}

// Rows that no head wants any longer, out of the last level of every head at once.
Result<bool> CompressedAttention::demote_to_chunks(bool flush, ThreadPool* pool) {
  const std::vector<int> slots = pipeline_.choose_for_chunks(cache_, tokens_, flush, pool);
  if (slots.empty()) return false;
  const int last = cache_.levels() - 1, d = shape_.head_dim;
  std::vector<int32_t> positions;
  for (const int slot : slots) positions.push_back(cache_.tier(0, 0, last).position(slot));
  const auto read = [&](int layer, int first, int count, float* keys, float* values) {
    const auto size = static_cast<size_t>(count * d);
    std::vector<float> k(size), v(size);
    for (int head = 0; head < shape_.kv_heads; ++head) {
      pipeline_.read_for_chunks(
          cache_, {layer, head},
          std::span(slots).subspan(static_cast<size_t>(first), static_cast<size_t>(count)),
          k.data(), v.data());
      for (int row = 0; row < count; ++row) {
        const ptrdiff_t to = (static_cast<ptrdiff_t>(row) * shape_.kv_heads + head) * d;
        std::copy_n(k.data() + row * d, d, keys + to);
        std::copy_n(v.data() + row * d, d, values + to);
      }
    }
  };
  KVKEEP_TRY(chunks_->append(positions, pipeline_.chunk_rows(), read, pool));
  peak_bytes_ = std::max(peak_bytes_, resident_bytes());
  pool->run(shape_.layers * shape_.kv_heads, [&](int64_t i, int) {
    const int head = static_cast<int>(i);
    pipeline_.remove_slots(&cache_, {head / shape_.kv_heads, head % shape_.kv_heads}, slots);
  });
  return true;
}

// What the read of a prompt needed, before the prompt is compressed.
void CompressedAttention::release_scratch() {
  prefill_.release();
  if (chunks_) chunks_->release();
}

Result<void> CompressedAttention::demote(bool flush, bool more_prompt, ThreadPool* pool) {
  if (flush) release_scratch();
  if (flush && !more_prompt) pipeline_.see_prompt(tokens_);
  if (pipeline_.reallocates(tokens_, flush && !more_prompt)) pipeline_.reallocate(cache_, tokens_);
  bool moved = false;
  for (int level = 0; level < cache_.levels(); ++level) {
    if (chunks_ && level + 1 == cache_.levels()) {
      const auto went = demote_to_chunks(flush, pool);
      if (!went) return tl::unexpected(went.error());
      moved |= *went;
      break;
    }
    std::vector<HeadIndex> heads;
    for (int layer = 0; layer < shape_.layers; ++layer)
      for (int h = 0; h < shape_.kv_heads; ++h)
        if (pipeline_.due(cache_, {layer, h}, level, tokens_, flush) > 0)
          heads.push_back({layer, h});
    moved |= !heads.empty();
    if (level == pipeline_.layer_level()) {
      int seen = -1;  // one work item a layer
      std::erase_if(heads,
                    [&](HeadIndex head) { return std::exchange(seen, head.layer) == head.layer; });
      pool->run(static_cast<int64_t>(heads.size()), [&](int64_t i, int) {
        pipeline_.demote_layer(&cache_, heads[static_cast<size_t>(i)].layer, tokens_, flush);
      });
      continue;
    }
    pool->run(static_cast<int64_t>(heads.size()), [&](int64_t i, int) {
      pipeline_.demote(&cache_, heads[static_cast<size_t>(i)], level, tokens_, flush);
    });
  }
  if (!moved) return {};
  peak_bytes_ = std::max(peak_bytes_, resident_bytes());
  cache_.compact();
  return {};
}

size_t CompressedAttention::shared_bytes() const {
  const Calibration* calibration = chunks_ ? chunks_->codec().calibration() : nullptr;
  return pipeline_.shared_bytes() + (calibration ? calibration->resident_bytes() : 0);
}

size_t CompressedAttention::resident_bytes() const {
  return cache_.resident_bytes() + pipeline_.transform_bytes() + pipeline_.statistics_bytes() +
         shared_bytes() + (chunks_ ? chunks_->bytes() : 0);
}

}  // namespace kvkeep
