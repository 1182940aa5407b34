// The product: an AttentionSite whose keys and values live in compressed tiers.
//
// attend() appends the new rows exactly, attends over all tiers, and lets the scorer see the read;
// demote() then moves rows that the plan no longer wants exact. A row is thus always read at the
// precision it had before the step that demotes it.
#pragma once

#include <memory>
#include <optional>

#include "attention/decode_attention.h"
#include "attention/prefill_attention.h"
#include "base/thread_pool.h"
#include "codec/chunk_tier.h"
#include "codec/pipeline.h"
#include "model/attention_site.h"

namespace kvkeep {

class CompressedAttention : public AttentionSite {
 public:
  static Result<std::unique_ptr<CompressedAttention>> make(
      const Plan& plan, const AttentionShape& shape, const RopeConfig& rope, int context,
      ThreadPool* pool, std::shared_ptr<const Calibration> calibration = nullptr,
      TokenRows tokens = {});

  Result<void> attend(const AttentionCall& call) override;

  // The first half of attend(): the rows enter the cache and nothing is read; q and out are unused.
  Result<void> append(const AttentionCall& call);
  // The same and all else that comes before a read; of one token, decode_read() is that read.
  Result<void> enter(const AttentionCall& call, ThreadPool* pool);
  DecodeRead decode_read(const AttentionCall& call) {
    return {&decode_, &cache_, call.q, call.out, chunks()};
  }

  // Brings every tier to its quota; with flush = false only where a whole batch of rows is due.
  // A flush ends the prompt, whose length quotas may refer to, unless more of it comes.
  Result<void> demote(bool flush, bool more_prompt = false) {
    return demote(flush, more_prompt, pool_);
  }
  Result<void> demote(bool flush, bool more_prompt, ThreadPool* pool);

  // A copy that shares blocks until one of the two writes to them; it works on `pool`.
  std::unique_ptr<CompressedAttention> fork(ThreadPool* pool) const;

  // The most tokens that can be taken back from the end: all, or fewer where some of them are on a
  // level that stores no positions.
  int most_taken_back() const;
  void take_back(int tokens);  // at most that many

  int tokens() const { return tokens_; }
  const Sequence& cache() const { return cache_; }
  const ChunkTier* chunks() const { return chunks_ ? &*chunks_ : nullptr; }
  const Pipeline& pipeline() const { return pipeline_; }
  const AttentionShape& shape() const { return shape_; }
  size_t resident_bytes()
      const;                    // cache, scores, positions, transform state; not attention scratch
  size_t shared_bytes() const;  // of these, what all sequences of a model share
  size_t scratch_bytes() const {
    return decode_.scratch_bytes() + prefill_.scratch_bytes() +
           (chunks_ ? chunks_->scratch_bytes() : 0);
  }
  size_t peak_bytes() const { return peak_bytes_; }

 private:
  CompressedAttention(Pipeline pipeline, Sequence cache, std::optional<ChunkTier> chunks,
                      const AttentionShape& shape, ThreadPool* pool);
  void release_scratch();
  Result<bool> demote_to_chunks(bool flush, ThreadPool* pool);

  AttentionShape shape_;
  Pipeline pipeline_;
  Sequence cache_;
  std::optional<ChunkTier> chunks_;  // where the plan's low level is chunks
  ThreadPool* pool_;
  DecodeAttention decode_;
  PrefillAttention prefill_;
  int tokens_ = 0;
  size_t peak_bytes_ = 0;
};

}  // namespace kvkeep
