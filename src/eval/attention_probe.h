// Exact attention with any number of compressed sites beside it.
//
// The model goes on with the exact output, so every site sees the same queries, keys and values,
// and the error of a layer is that layer's own.
#pragma once

#include <memory>
#include <vector>

#include "engine/compressed_attention.h"
#include "model/dense_attention.h"

namespace kvkeep {

// Of one (layer, kv_head), over the q_heads that share it.
struct OutputError {
  double error = 0, exact = 0;  // sums of squares
  double relative() const;      // sqrt(error / exact), 0 if both are
};

class AttentionProbe : public AttentionSite {
 public:
  using Sites = std::vector<std::unique_ptr<CompressedAttention>>;

  AttentionProbe(const AttentionShape& shape, Sites sites);
  Result<void> attend(const AttentionCall& call) override;

  void score(bool on) { scoring_ = on; }  // whether the reads from now on count
  const Sites& sites() const { return sites_; }
  const OutputError& error(size_t site, int layer, int kv_head) const {
    return errors_[index(site, layer, kv_head)];
  }

 private:
  size_t index(size_t site, int layer, int kv_head) const;
  void add(size_t site, const AttentionCall& call);

  AttentionShape shape_;
  DenseAttention exact_;
  Sites sites_;
  bool scoring_ = false;
  std::vector<float> out_;           // [tokens][q_heads][head_dim] of one site
  std::vector<OutputError> errors_;  // [sites][layers][kv_heads]
};

}  // namespace kvkeep
