#include "eval/attention_probe.h"

#include <cmath>

#include "base/fail.h"

namespace kvkeep {

double OutputError::relative() const { return error > 0 ? std::sqrt(error / exact) : 0; }

AttentionProbe::AttentionProbe(const AttentionShape& shape, Sites sites)
    : shape_(shape),
      exact_(shape),
      sites_(std::move(sites)),
      errors_(sites_.size() * static_cast<size_t>(shape.layers * shape.kv_heads)) {}

Result<void> AttentionProbe::attend(const AttentionCall& call) {
  KVKEEP_TRY(exact_.attend(call));
  AttentionCall other = call;
  out_.resize(static_cast<size_t>(call.tokens * shape_.q_heads * shape_.head_dim));
  other.out = out_.data();
  for (size_t i = 0; i < sites_.size(); ++i) {
    KVKEEP_TRY(sites_[i]->attend(other));
    if (scoring_) add(i, call);
  }
  return {};
}

size_t AttentionProbe::index(size_t site, int layer, int kv_head) const {
  const auto layers = static_cast<size_t>(shape_.layers);
  return (site * layers + static_cast<size_t>(layer)) * static_cast<size_t>(shape_.kv_heads) +
         static_cast<size_t>(kv_head);
}

void AttentionProbe::add(size_t site, const AttentionCall& call) {
  const float *exact = call.out, *found = out_.data();
  for (int t = 0; t < call.tokens; ++t)
    for (int head = 0; head < shape_.q_heads; ++head) {
      OutputError& sum = errors_[index(site, call.layer, head / shape_.gqa_ratio())];
      for (int d = 0; d < shape_.head_dim; ++d, ++exact, ++found) {
        const double x = *exact, difference = x - *found;
        sum.error += difference * difference;
        sum.exact += x * x;
      }
    }
}

}  // namespace kvkeep
