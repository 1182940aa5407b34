#include "engine/compressed_attention.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <vector>

namespace kvkeep {

CompressedAttention::CompressedAttention(Pipeline pipeline, const AttentionShape& shape,
                                         ThreadPool* pool)
    : shape_(shape),
      pipeline_(std::move(pipeline)),
      cache_(shape.layers, shape.kv_heads, pipeline_.tier_shapes()),
      pool_(pool),
      decode_(&pipeline_, {shape.kv_heads, shape.gqa_ratio(), shape.head_dim}),
      prefill_(&pipeline_, {shape.kv_heads, shape.gqa_ratio(), shape.head_dim}) {}

Result<std::unique_ptr<CompressedAttention>> CompressedAttention::make(const Plan& plan,
                                                                       const AttentionShape& shape,
                                                                       const RopeConfig& rope,
                                                                       int context,
                                                                       ThreadPool* pool) {
  auto pipeline =
      Pipeline::make(plan, {shape.layers, shape.kv_heads, shape.head_dim, context, rope});
  if (!pipeline) return tl::unexpected(pipeline.error());
  return std::unique_ptr<CompressedAttention>(
      new CompressedAttention(*std::move(pipeline), shape, pool));
}

Result<void> CompressedAttention::append(const AttentionCall& call) {
  std::vector<std::optional<Error>> errors(static_cast<size_t>(shape_.kv_heads));
  pool_->run(shape_.kv_heads, [&](int64_t head, int) {
    for (int t = 0; t < call.tokens; ++t) {
      const auto row = (static_cast<ptrdiff_t>(t) * shape_.kv_heads + head) * shape_.head_dim;
      auto done = pipeline_.append(&cache_, {call.layer, static_cast<int>(head)},
                                   call.first_position + t, call.k + row, call.v + row);
      if (!done) {
        errors[static_cast<size_t>(head)] = std::move(done).error();
        return;
      }
    }
  });
  for (auto& error : errors)
    if (error) return tl::unexpected(*std::move(error));
  return {};
}

Result<void> CompressedAttention::attend(const AttentionCall& call) {
  if (auto done = append(call); !done) return done;
  pipeline_.observe_queries(call.layer, call.q, call.tokens, shape_.gqa_ratio());
  if (call.tokens == 1) {
    decode_.attend(&cache_, call.layer, call.q, call.out, pool_);
  } else {
    prefill_.attend(&cache_, call.layer, call.tokens, call.q, call.out, pool_);
  }
  if (call.layer + 1 == shape_.layers) {
    tokens_ = call.first_position + call.tokens;
    peak_bytes_ = std::max(peak_bytes_, resident_bytes());
  }
  return {};
}

void CompressedAttention::demote(bool flush) {
  if (flush) prefill_.release();
  std::atomic<bool> moved = false;
  for (int level = 0; level < cache_.levels(); ++level)
    pool_->run(shape_.layers * shape_.kv_heads, [&](int64_t i, int) {
      const HeadIndex head{static_cast<int>(i) / shape_.kv_heads,
                           static_cast<int>(i) % shape_.kv_heads};
      if (pipeline_.demote(&cache_, head, level, tokens_, flush)) moved = true;
    });
  if (!moved) return;
  peak_bytes_ = std::max(peak_bytes_, resident_bytes());
  cache_.compact();
}

size_t CompressedAttention::resident_bytes() const {
  return cache_.resident_bytes() + pipeline_.transform_bytes() + pipeline_.shared_bytes();
}

}  // namespace kvkeep
