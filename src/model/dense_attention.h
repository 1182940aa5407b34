// Exact float32 attention over an uncompressed cache: the oracle every compressed cache is compared
// with. Plain loops, double accumulation of the softmax, no speed.
#pragma once

#include <vector>

#include "model/attention_site.h"

namespace kvkeep {

class DenseAttention : public AttentionSite {
 public:
  explicit DenseAttention(const AttentionShape& shape);
  Result<void> attend(const AttentionCall& call) override;

 private:
  AttentionShape shape_;
  std::vector<std::vector<float>> keys_, values_;  // per layer: [tokens][kv_heads][head_dim]
};

}  // namespace kvkeep
