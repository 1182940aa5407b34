#include "attention/prefill_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/gemm.h"
#include "kernels/isa.h"

namespace kvkeep {
namespace {

constexpr int kRowBlock = 64;    // query rows of one product
constexpr int kReadSlots = 256;  // slots one item reads

}  // namespace

void PrefillAttention::plan_ranges(const Sequence& cache, int layer) {
  ranges_.clear();
  head_rows_.assign(static_cast<size_t>(heads_.kv_heads), 0);
  for (int h = 0; h < heads_.kv_heads; ++h) {
    size_t& row = head_rows_[static_cast<size_t>(h)];
    for (int level = cache.levels() - 1; level >= 0; --level) {
      const int size = cache.tier(layer, h, level).size();
      for (int first = 0; first < size; first += kReadSlots) {
        const int count = std::min(kReadSlots, size - first);
        ranges_.push_back({h, level, first, count, row});
        row += static_cast<size_t>(count);
      }
    }
  }
  rows_ = *std::max_element(head_rows_.begin(), head_rows_.end());
}

// Query rows first .. first+count-1 of every q_head of one kv_head.
void PrefillAttention::attend_rows(int kv_head, int first, int count, int tokens, const float* q,
                                   float* out, float* probabilities, float* mass) const {
  const KernelTable& table = kernels();
  const int d = heads_.head_dim, width = heads_.kv_heads * heads_.gqa_ratio * d;
  const size_t rows = head_rows_[static_cast<size_t>(kv_head)];
  const int stride = static_cast<int>(rows_);
  const int past = static_cast<int>(rows) - tokens;
  const int columns = past + first + count;
  const float* keys = keys_.data() + static_cast<size_t>(kv_head) * rows_ * static_cast<size_t>(d);
  const float* values =
      values_.data() + static_cast<size_t>(kv_head) * rows_ * static_cast<size_t>(d);
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  for (int g = 0; g < heads_.gqa_ratio; ++g) {
    const auto offset =
        static_cast<ptrdiff_t>(first) * width + (kv_head * heads_.gqa_ratio + g) * d;
    gemm_nt(count, columns, d, scale, q + offset, width, keys, d, 0.0f, probabilities, stride);
    for (int r = 0; r < count; ++r) {
      float* row = probabilities + static_cast<ptrdiff_t>(r) * stride;
      const int visible = past + first + r + 1;
      const float sum = table.exp_sum(row, visible, table.max(row, visible));
      table.scale(row, visible, 1.0f / sum);
      std::fill(row + visible, row + columns, 0.0f);
      if (mass && observed_[static_cast<size_t>(first + r)])
        for (int c = 0; c < visible; ++c) mass[c] += row[c];
    }
    gemm_nn(count, d, columns, 1.0f, probabilities, stride, values, d, 0.0f, out + offset, width);
  }
}

void PrefillAttention::score(Sequence* cache, int layer, int kv_head, int row_blocks) const {
  const float* base = mass_.data() + static_cast<size_t>(kv_head * row_blocks) * rows_;
  for (const Range& range : ranges_) {
    if (range.kv_head != kv_head || !pipeline_->levels()[static_cast<size_t>(range.level)].scored)
      continue;
    Tier& tier = cache->tier(layer, kv_head, range.level);
    for (int slot = range.first; slot < range.first + range.count; slot += kBlockTokens) {
      const int count = std::min(kBlockTokens, range.first + range.count - slot);
      float mass[kBlockTokens] = {};
      for (int r = 0; r < row_blocks; ++r) {
        const float* part =
            base + static_cast<size_t>(r) * rows_ + range.row + (slot - range.first);
        for (int t = 0; t < count; ++t) mass[t] += part[t];
      }
      pipeline_->update_scores(&tier, slot / kBlockTokens, count,
                               {mass, static_cast<size_t>(count)}, observed_rows_);
    }
  }
}

// Which of the slice's rows the scorer wants to see.
void PrefillAttention::observe_rows(const Sequence& cache, int layer, int tokens) {
  const Tier& newest = cache.tier(layer, 0, 0);
  const int last = newest.position(newest.size() - 1);
  observed_rows_ = 0;
  observed_.assign(static_cast<size_t>(tokens), 0);
  if (!pipeline_->observes_attention()) return;
  for (int r = 0; r < tokens; ++r)
    if (pipeline_->scorer().observes_row(last - (tokens - 1 - r), last)) {
      observed_[static_cast<size_t>(r)] = 1;
      ++observed_rows_;
    }
}

void PrefillAttention::release() {
  for (auto* buffer : {&keys_, &values_, &probabilities_, &mass_}) *buffer = {};
}

void PrefillAttention::attend(Sequence* cache, int layer, int tokens, const float* q, float* out,
                              ThreadPool* pool) {
  plan_ranges(*cache, layer);
  const auto kv_heads = static_cast<size_t>(heads_.kv_heads);
  const auto d = static_cast<size_t>(heads_.head_dim);
  keys_.resize(kv_heads * rows_ * d);
  values_.resize(kv_heads * rows_ * d);
  probabilities_.resize(static_cast<size_t>(pool->size()) * kRowBlock * rows_);
  pool->run(static_cast<int64_t>(ranges_.size()), [&](int64_t i, int) {
    const Range& range = ranges_[static_cast<size_t>(i)];
    const size_t at = (static_cast<size_t>(range.kv_head) * rows_ + range.row) * d;
    pipeline_->read_rows(*cache, {layer, range.kv_head}, range.level, range.first, range.count,
                         keys_.data() + at, values_.data() + at);
  });
  const int row_blocks = (tokens + kRowBlock - 1) / kRowBlock;
  observe_rows(*cache, layer, tokens);
  const bool observe = observed_rows_ > 0;
  if (observe) {
    mass_.resize(kv_heads * static_cast<size_t>(row_blocks) * rows_);
    std::memset(mass_.data(), 0, mass_.size() * sizeof(float));
  }
  pool->run(heads_.kv_heads * row_blocks, [&](int64_t item, int worker) {
    const int kv_head = static_cast<int>(item) / row_blocks;
    const int first = static_cast<int>(item) % row_blocks * kRowBlock;
    attend_rows(kv_head, first, std::min(kRowBlock, tokens - first), tokens, q, out,
                probabilities_.data() + static_cast<size_t>(worker) * kRowBlock * rows_,
                observe ? mass_.data() + static_cast<size_t>(item) * rows_ : nullptr);
  });
  if (!observe) return;
  pool->run(heads_.kv_heads,
            [&](int64_t h, int) { score(cache, layer, static_cast<int>(h), row_blocks); });
}

}  // namespace kvkeep
