#include "attention/decode_attention.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "kernels/isa.h"

namespace kvkeep {
namespace {

constexpr int kRangeBlocks = 32;  // 2,048 slots

}  // namespace

DecodeAttention::DecodeAttention(const Pipeline* pipeline, const HeadCounts& heads)
    : pipeline_(pipeline), heads_(heads), stride_((heads.head_dim + 15) / 16 * 16) {
  const size_t rows = static_cast<size_t>(heads.kv_heads * heads.gqa_ratio);
  exact_q_.resize(rows * static_cast<size_t>(stride_));
  totals_.resize(rows);
}

size_t DecodeAttention::scratch_bytes() const {
  return exact_q_.bytes() + coded_q_.bytes() + outs_.bytes() + weights_.bytes() + maxima_.bytes() +
         scratch_.bytes() + query_codes_.capacity() * sizeof(QueryCodes) +
         states_.capacity() * sizeof(AttentionState);
}

void DecodeAttention::prepare_queries(int layer, const float* q) {
  const int rows = q_heads();
  const float scale = 1.0f / std::sqrt(static_cast<float>(heads_.head_dim));
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < heads_.head_dim; ++c)
      exact_q_[static_cast<size_t>(r * stride_ + c)] = scale * q[r * heads_.head_dim + c];
  int epochs = 1;
  for (int h = 0; h < heads_.kv_heads; ++h)
    epochs = std::max(epochs, pipeline_->transforms().epochs({layer, h}));
  const auto all = static_cast<size_t>(epochs * rows);
  coded_q_.resize(all * static_cast<size_t>(stride_));
  if (pipeline_->attends_in_integers()) query_codes_.resize(all * pipeline_->levels().size());
  for (int h = 0; h < heads_.kv_heads; ++h)
    for (int epoch = 0; epoch < pipeline_->transforms().epochs({layer, h}); ++epoch)
      prepare_coded({layer, h}, epoch);
}

// The queries of one kv_head as rows coded in this epoch want them.
void DecodeAttention::prepare_coded(HeadIndex head, int epoch) {
  const int group = heads_.gqa_ratio, first = head.kv_head * group * stride_;
  float* q = coded_q(epoch, head.kv_head);
  std::memcpy(q, exact_q_.data() + first, static_cast<size_t>(group * stride_) * sizeof(float));
  for (const auto& transform : pipeline_->transforms().chain(head, epoch))
    transform->query(head, q, group, stride_);
  for (int i = 0; i < static_cast<int>(pipeline_->levels().size()); ++i)
    if (const Level& level = pipeline_->levels()[static_cast<size_t>(i)];
        integer_keys(level) && (epoch == 0 || pipeline_->last_level(i)))
      kernels().quantize_query[static_cast<size_t>(level.k.id)](
          level.k, q, stride_, group, query_codes(epoch, i, head.kv_head));
}

void DecodeAttention::plan_items(const Sequence& cache, int layer) {
  items_.clear();
  first_.clear();
  const auto group = static_cast<size_t>(heads_.gqa_ratio);
  size_t rows = 0;
  for (int h = 0; h < heads_.kv_heads; ++h) {
    first_.push_back(items_.size());
    for (int level = 0; level < cache.levels(); ++level) {
      const int blocks = cache.tier(layer, h, level).blocks();
      const Level& stored = pipeline_->levels()[static_cast<size_t>(level)];
      for (int b = 0, end = 0; b < blocks; b = end) {
        const int epoch = stored.coded ? pipeline_->epoch({layer, h}, level, b) : 0;
        end = std::min(b + kRangeBlocks, blocks);
        if (stored.coded) end = std::min(end, pipeline_->epoch_end({layer, h}, level, b));
        items_.push_back({h, level, epoch, b, end, items_.size() * group, rows});
        if (stored.scored) rows += static_cast<size_t>(end - b) * group;
      }
    }
    const int cold = chunks_ ? (chunks_->rows() + kBlockTokens - 1) / kBlockTokens : 0;
    for (int b = 0; b < cold; b += kRangeBlocks)
      items_.push_back(
          {h, kChunks, 0, b, std::min(b + kRangeBlocks, cold), items_.size() * group, rows});
  }
  first_.push_back(items_.size());
  weights_.resize(rows * kBlockTokens);
  maxima_.resize(rows);
  outs_.resize(items_.size() * group * static_cast<size_t>(stride_));
  states_.assign(items_.size() * group, {});
  left_.resize(static_cast<size_t>(heads_.kv_heads));
  for (int h = 0; h < heads_.kv_heads; ++h)
    left_[static_cast<size_t>(h)] = static_cast<int>(items_of(h).size());
  float* out = outs_.data();
  for (const Item& item : items_)
    for (size_t h = 0; h < group; ++h, out += stride_) states_[item.state + h].out = out;
}

// Logits of one block; key blocks are read in order, so `next` is fetched meanwhile.
void DecodeAttention::score_block(const Item& item, const std::byte* part, const std::byte* next,
                                  int count, float* logits) {
  const Level& level = pipeline_->levels()[static_cast<size_t>(item.level)];
  const auto id = static_cast<size_t>(level.k.id);
  const KernelTable& table = kernels();
  const int group = heads_.gqa_ratio;
  const float* q = level.coded ? coded_q(item.epoch, item.kv_head)
                               : exact_q_.data() + item.kv_head * group * stride_;
  const QueryCodes* codes =
      integer_keys(level) ? query_codes(item.epoch, item.level, item.kv_head) : nullptr;
  for (int h = 0; h < group; h += kMaxKernelHeads) {
    const int heads = std::min(kMaxKernelHeads, group - h);
    float* to = logits + h * kBlockTokens;
    if (codes)
      table.score_codes[id](level.k, part, next, count, codes + h, heads, to);
    else
      table.score_block[id](level.k, part, next, count, q + h * stride_, stride_, heads, to);
  }
}

// One block's logits become weights; the states grow to take them in. maxima: [gqa_ratio] or null.
void DecodeAttention::softmax_step(float* logits, int count, AttentionState* states,
                                   float* maxima) const {
  const KernelTable& table = kernels();
  float max[kMaxKernelHeads], sum[kMaxKernelHeads], factor[kMaxKernelHeads];
  for (int first = 0; first < heads_.gqa_ratio; first += kMaxKernelHeads) {
    const int heads = std::min(kMaxKernelHeads, heads_.gqa_ratio - first);
    AttentionState* state = states + first;
    for (int h = 0; h < heads; ++h) max[h] = state[h].max, sum[h] = state[h].sum;
    table.softmax_step(logits + first * kBlockTokens, kBlockTokens, count, heads, max, sum, factor);
    for (int h = 0; h < heads; ++h) {
      if (factor[h] != 1.0f) table.scale(state[h].out, stride_, factor[h]);
      state[h].max = max[h], state[h].sum = sum[h];
      if (maxima) maxima[first + h] = max[h];
    }
  }
}

// Rows in chunks are float32 rows already: products with the exact query, block by block.
void DecodeAttention::attend_chunks(const Item& item, const Scratch& scratch) {
  const KernelTable& table = kernels();
  const int group = heads_.gqa_ratio, d = heads_.head_dim;
  const float* q = exact_q_.data() + item.kv_head * group * stride_;
  AttentionState* states = scratch.states;
  float *keys = scratch.rows, *values = keys + kBlockTokens * d;
  for (int b = item.first_block; b < item.last_block; ++b) {
    const int first = b * kBlockTokens, count = std::min(kBlockTokens, chunks_->rows() - first);
    chunks_->read(item.kv_head, first, count, keys, values);
    for (int h = 0; h < group; ++h) {
      float* logits = scratch.logits + h * kBlockTokens;
      for (int t = 0; t < count; ++t) logits[t] = table.dot(q + h * stride_, keys + t * d, d);
    }
    softmax_step(scratch.logits, count, states, nullptr);
    for (int h = 0; h < group; ++h) {
      const float* weights = scratch.logits + h * kBlockTokens;
      for (int t = 0; t < count; ++t)
        table.add_scaled(values + t * d, d, weights[t], states[h].out);
    }
  }
}

void DecodeAttention::attend_range(const Sequence& cache, int layer, const Item& item,
                                   const Scratch& scratch) {
  const Level& level = pipeline_->levels()[static_cast<size_t>(item.level)];
  const Tier& tier = cache.tier(layer, item.kv_head, item.level);
  const KernelTable& table = kernels();
  const int group = heads_.gqa_ratio;
  const float* plain_q = exact_q_.data() + item.kv_head * group * stride_;
  const auto accumulate =
      (integer(level) ? table.accumulate_codes
                      : table.accumulate_block)[static_cast<size_t>(level.v.id)];
  const Transforms::Chain& chain = pipeline_->transforms().chain({layer, item.kv_head}, item.epoch);
  AttentionState* states = scratch.states;
  for (int b = item.first_block; b < item.last_block; ++b) {
    const int count = std::min(kBlockTokens, tier.size() - b * kBlockTokens);
    const bool last = b + 1 == tier.blocks();  // of the tier: the next item mostly goes on there
    const size_t block = item.weights + static_cast<size_t>((b - item.first_block) * group);
    float* logits = level.scored ? weights_.data() + block * kBlockTokens : scratch.logits;
    score_block(item, tier.k_part(b), last ? nullptr : tier.k_part(b + 1), count, logits);
    for (const auto& transform : chain) {
      if (!level.coded || !transform->has_bias()) continue;
      int32_t positions[kBlockTokens];
      tier.positions(b, count, positions);
      for (int h = 0; h < group; ++h)
        transform->bias({layer, item.kv_head}, plain_q + h * stride_,
                        {positions, static_cast<size_t>(count)}, logits + h * kBlockTokens);
    }
    for (int t = 0; level.masses && t < count; ++t) {
      const float log_mass = tier.score(b * kBlockTokens + t, tier.shape().mass_lane());
      for (int h = 0; h < group; ++h) logits[h * kBlockTokens + t] += log_mass;
    }
    softmax_step(logits, count, states, level.scored ? maxima_.data() + block : nullptr);
    for (int h = 0; h < group; h += kMaxKernelHeads)
      accumulate(level.v, tier.v_part(b), last ? nullptr : tier.v_part(b + 1), count,
                 logits + h * kBlockTokens, std::min(kMaxKernelHeads, group - h), states[h].out,
                 stride_);
  }
  if (!level.coded) return;
  for (auto it = chain.rbegin(); it != chain.rend(); ++it)
    (*it)->inverse_value(states[0].out, group, stride_);
}

// Floats of one worker's scratch. Processors fetch lines ahead of those a core writes, up to the
// end of a page: without a page between two workers each would take lines away from the other,
// block after block, and two cores would be 1.3 times as fast as one.
size_t DecodeAttention::scratch_floats() const {
  constexpr int kPage = 4096 / sizeof(float);
  const int rows = chunks_ ? 2 * kBlockTokens * heads_.head_dim : 0;
  return static_cast<size_t>(heads_.gqa_ratio * (kBlockTokens + stride_) + rows + kPage);
}

void DecodeAttention::attend_item(const Sequence& cache, int layer, const Item& item,
                                  float* scratch) {
  const auto group = static_cast<size_t>(heads_.gqa_ratio), stride = static_cast<size_t>(stride_);
  float* outs = scratch + group * kBlockTokens;
  std::memset(outs, 0, group * stride * sizeof(float));
  std::vector<AttentionState> states(group);
  for (size_t h = 0; h < group; ++h) states[h].out = outs + h * stride;
  const Scratch own{scratch, outs + group * stride, states.data()};
  if (item.level == kChunks)
    attend_chunks(item, own);
  else
    attend_range(cache, layer, item, own);
  for (size_t h = 0; h < group; ++h) {
    AttentionState& result = states_[item.state + h];
    std::memcpy(result.out, states[h].out, stride * sizeof(float));
    result.max = states[h].max, result.sum = states[h].sum;
  }
}

// The mass of an item's slots: exp(logit - max) / sum of the whole softmax, over the group.
// The weights of a block need only be brought from its own maximum to that of the whole. `rows` are
// all the head has.
void DecodeAttention::score(Sequence* cache, int layer, const Item& item,
                            const AttentionState* total, int rows) {
  const int group = heads_.gqa_ratio;
  Tier& tier = cache->tier(layer, item.kv_head, item.level);
  const Tier& newest = cache->tier(layer, item.kv_head, 0);
  const auto seen = SeenRows::of({layer, item.kv_head}, 1, newest.position(newest.size() - 1));
  const Ballot ballot = pipeline_->scorer().ballot();
  std::vector<float> factors(static_cast<size_t>(group)), given(factors);
  tier.make_own(item.first_block, item.last_block);
  size_t row = item.weights;
  for (int b = item.first_block; b < item.last_block; ++b, row += static_cast<size_t>(group)) {
    const int count = std::min(kBlockTokens, tier.size() - b * kBlockTokens);
    float* weights = weights_.data() + row * kBlockTokens;
    const float* maxima = maxima_.data() + row;
    for (int h = 0; h < group; ++h) {
      // Maxima mostly stay from block to block, and with them the exponential.
      const auto i = static_cast<size_t>(h);
      if (b == item.first_block || maxima[h] != maxima[h - group])
        factors[i] = rescale(maxima[h], total[h].max) / total[h].sum;
      given[i] = cast_ballots(ballot, factors[i], rows,
                              {weights + h * kBlockTokens, static_cast<size_t>(count)});
    }
    for (int lane = 1; lane <= tier.shape().head_scores; ++lane)
      pipeline_->update_scores(&tier, b, count,
                               {weights + (lane - 1) * kBlockTokens, given.data() + (lane - 1), 1},
                               seen, lane);
    pipeline_->update_scores(&tier, b, count, over_group(weights, &given, count), seen);
  }
}

// The heads' rows as they count in the score: all of them, or one of their largest products.
MassRows DecodeAttention::over_group(float* weights, std::vector<float>* factors, int count) const {
  const int group = heads_.gqa_ratio;
  if (pipeline_->gqa() == GqaAggregate::max) {
    for (int t = 0; t < count; ++t) {
      float most = (*factors)[0] * weights[t];
      for (int h = 1; h < group; ++h)
        most = std::max(most, (*factors)[static_cast<size_t>(h)] * weights[h * kBlockTokens + t]);
      weights[t] = most;
    }
    (*factors)[0] = 1.0f;
    return {weights, factors->data(), 1};
  }
  for (float& factor : *factors) factor *= head_weight(pipeline_->gqa(), group);
  return {weights, factors->data(), group};
}

void DecodeAttention::finish_head(Sequence* cache, int layer, int kv_head, float* out) {
  const int group = heads_.gqa_ratio, d = heads_.head_dim;
  AttentionState* totals = totals_.data() + kv_head * group;
  for (int h = 0; h < group; ++h) {
    float* row = out + (kv_head * group + h) * d;
    std::fill_n(row, d, 0.0f);
    totals[h] = {};
    totals[h].out = row;
    for (const Item& item : items_of(kv_head))
      merge(&totals[h], states_[item.state + static_cast<size_t>(h)], d);
    for (int c = 0; c < d; ++c) row[c] /= totals[h].sum;
  }
  const Tier& newest = cache->tier(layer, kv_head, 0);
  const int position = newest.position(newest.size() - 1);
  if (!pipeline_->scorer().observes_row(position, position)) return;
  int rows = 0;
  for (int level = 0; level < cache->levels(); ++level)
    rows += cache->tier(layer, kv_head, level).size();
  if (chunks_) rows += chunks_->rows();
  for (const Item& item : items_of(kv_head))
    if (scored(item)) score(cache, layer, item, totals, rows);
}

void DecodeAttention::prepare(const DecodeRead& read, int layer) {
  chunks_ = read.chunks;
  prepare_queries(layer, read.q);
  plan_items(*read.cache, layer);
}

void DecodeAttention::run_item(const DecodeRead& read, int layer, size_t index, float* scratch) {
  const Item& item = items_[index];
  attend_item(*read.cache, layer, item, scratch);
  std::atomic_ref left(left_[static_cast<size_t>(item.kv_head)]);
  if (left.fetch_sub(1, std::memory_order_acq_rel) == 1)
    finish_head(read.cache, layer, item.kv_head, read.out);
}

void DecodeAttention::attend(std::span<const DecodeRead> reads, int layer, ThreadPool* pool) {
  pool->run(static_cast<int64_t>(reads.size()), [&](int64_t i, int) {
    const DecodeRead& read = reads[static_cast<size_t>(i)];
    read.attention->prepare(read, layer);
  });
  struct Work {
    const DecodeRead* read;
    size_t item;
  };
  std::vector<Work> work;
  size_t floats = 0;  // a worker
  for (const DecodeRead& read : reads) {
    for (size_t i = 0; i < read.attention->items_.size(); ++i) work.push_back({&read, i});
    floats = std::max(floats, read.attention->scratch_floats());
  }
  AlignedBuffer<float>& scratch = reads.front().attention->scratch_;
  scratch.resize(static_cast<size_t>(pool->size()) * floats);
  pool->run(static_cast<int64_t>(work.size()), [&](int64_t i, int worker) {
    const auto& [read, item] = work[static_cast<size_t>(i)];
    read->attention->run_item(*read, layer, item,
                              scratch.data() + static_cast<size_t>(worker) * floats);
  });
}

}  // namespace kvkeep
