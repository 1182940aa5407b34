// The caches of several sequences of one model that take a decode step together: row t of a call is
// the next token of sequence t, whatever its plan and length.
#pragma once

#include <vector>

#include "engine/compressed_attention.h"

namespace kvkeep {

class BatchAttention : public AttentionSite {
 public:
  // The sequences differ from one another; `pool` does the work of all.
  BatchAttention(std::vector<CompressedAttention*> sequences, ThreadPool* pool);

  // Never an error: a sequence whose row is refused takes no further part and gets zeros, because
  // the others are in the middle of their step.
  Result<void> attend(const AttentionCall& call) override;
  const Result<void>& result(size_t sequence) const { return results_[sequence]; }

 private:
  std::vector<CompressedAttention*> sequences_;
  ThreadPool* pool_;
  std::vector<Result<void>> results_;
  std::vector<DecodeRead> reads_;
};

}  // namespace kvkeep
