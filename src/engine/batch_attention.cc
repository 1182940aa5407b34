#include "engine/batch_attention.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace kvkeep {

BatchAttention::BatchAttention(std::vector<CompressedAttention*> sequences, ThreadPool* pool)
    : sequences_(std::move(sequences)), pool_(pool), results_(sequences_.size()) {}

Result<void> BatchAttention::attend(const AttentionCall& call) {
  KVKEEP_CHECK(static_cast<size_t>(call.tokens) == sequences_.size(), "{} tokens for {} sequences",
               call.tokens, sequences_.size());
  reads_.clear();
  for (size_t i = 0; i < sequences_.size(); ++i) {
    CompressedAttention& sequence = *sequences_[i];
    const AttentionShape& shape = sequence.shape();
    const size_t q = i * static_cast<size_t>(shape.q_heads * shape.head_dim);
    const size_t kv = i * static_cast<size_t>(shape.kv_heads * shape.head_dim);
    const AttentionCall one{call.layer,  1,           sequence.tokens(), call.q + q,
                            call.k + kv, call.v + kv, call.out + q,      call.ids + i};
    if (results_[i]) results_[i] = sequence.enter(one, pool_);
    if (results_[i])
      reads_.push_back(sequence.decode_read(one));
    else
      std::fill_n(one.out, shape.q_heads * shape.head_dim, 0.0f);
  }
  if (!reads_.empty()) DecodeAttention::attend(reads_, call.layer, pool_);
  return {};
}

}  // namespace kvkeep
