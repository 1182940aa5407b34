#include "attention/prefill_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "kernels/gemm.h"
#include "kernels/isa.h"

namespace kvkeep {
namespace {

constexpr int kChunkRows = 256;                   // cached rows read together
constexpr int kItemQueries = 256;                 // q_heads x query rows of an item, about
constexpr int kMinItemRows = 16, kItemRows = 64;  // query rows a product needs, and likes
constexpr size_t kKeptBytes = size_t{16} << 20;   // of kept exponentials, per thread

}  // namespace

void PrefillAttention::plan_chunks(const Sequence& cache, int layer) {
  chunks_.clear();
  head_chunks_.clear();
  kept_rows_ = kept_chunks_ = 0;
  lanes_ = 1 + pipeline_->levels()[0].head_scores;
  for (int h = 0; h < heads_.kv_heads; ++h) {
    Head head{chunks_.size(), 0, 0, 0};
    int kept_chunks = 0;
    for (int first = 0; cold_ && first < cold_->rows(); first += kChunkRows) {
      const int count = std::min(kChunkRows, cold_->rows() - first);
      chunks_.push_back({kColdRows, first, count, head.rows, -1});
      head.rows += count;
    }
    for (int level = cache.levels() - 1; level >= 0; --level) {
      const int size = cache.tier(layer, h, level).size();
      const bool ranked =
          observed_rows_ > 0 && pipeline_->levels()[static_cast<size_t>(level)].scored;
      for (int first = 0; first < size; first += kChunkRows) {
        const int count = std::min(kChunkRows, size - first);
        chunks_.push_back(
            {level, first, count, head.rows, ranked ? head.kept_rows : -1, kept_chunks});
        head.rows += count;
        head.kept_rows += ranked ? count : 0;
        kept_chunks += ranked;
      }
    }
    head.last_chunk = chunks_.size();
    head_chunks_.push_back(head);
    kept_rows_ = std::max(kept_rows_, head.kept_rows);
    kept_chunks_ = std::max(kept_chunks_, kept_chunks);
  }
}

// How many query rows an item takes must not depend on the number of threads: results would.
void PrefillAttention::plan_scratch(int tokens, int workers) {
  const int group = heads_.gqa_ratio;
  item_rows_ = std::max(kItemRows, kItemQueries / group);
  if (kept_rows_ > 0) {
    const size_t row_bytes = static_cast<size_t>(group) * static_cast<size_t>(kept_rows_) * 4;
    const auto fitting = static_cast<int>(std::min<size_t>(kKeptBytes / row_bytes, 1024));
    item_rows_ = std::clamp(fitting / kMinItemRows * kMinItemRows, kMinItemRows, item_rows_);
  }
  item_rows_ = std::min(item_rows_, tokens);
  groups_ = (tokens + item_rows_ - 1) / item_rows_;
  const auto rows = static_cast<size_t>(item_rows_), queries = rows * static_cast<size_t>(group);
  worker_floats_ = 2 * kChunkRows * static_cast<size_t>(heads_.head_dim) + rows * kChunkRows +
                   kChunkRows + 2 * queries +
                   queries * static_cast<size_t>(kept_chunks_) * (kChunkRows + 1);
  worker_floats_ = (worker_floats_ + 15) / 16 * 16;
  scratch_.resize(static_cast<size_t>(workers) * worker_floats_);
}

PrefillAttention::Scratch PrefillAttention::scratch_of(int worker) {
  float* at = scratch_.data() + static_cast<size_t>(worker) * worker_floats_;
  const auto take = [&at](size_t n) { return std::exchange(at, at + n); };
  const auto rows = static_cast<size_t>(item_rows_);
  const size_t queries = rows * static_cast<size_t>(heads_.gqa_ratio);
  const size_t chunk = kChunkRows * static_cast<size_t>(heads_.head_dim);
  Scratch scratch;
  scratch.keys = take(chunk);
  scratch.values = take(chunk);
  scratch.logits = take(rows * kChunkRows);
  scratch.log_masses = take(kChunkRows);
  scratch.kept = take(queries * static_cast<size_t>(kept_chunks_) * kChunkRows);
  scratch.max = take(queries);
  scratch.sum = take(queries);
  scratch.kept_max = take(queries * static_cast<size_t>(kept_chunks_));
  return scratch;
}

// [gqa_ratio][item rows][kChunkRows] of a ranked chunk.
float* PrefillAttention::kept(const Chunk& chunk, const Scratch& scratch) const {
  const ptrdiff_t queries = static_cast<ptrdiff_t>(heads_.gqa_ratio) * item_rows_;
  return scratch.kept + chunk.kept_place * queries * kChunkRows;
}

// One chunk for q_head g of the group: q and out point at its first row. The row r sees the first
// visible + r columns.
void PrefillAttention::attend_chunk(const Chunk& chunk, int columns, int g, int visible, int count,
                                    const float* q, float* out, const Scratch& scratch,
                                    bool keep) const {
  const KernelTable& table = kernels();
  const int d = heads_.head_dim, width = heads_.kv_heads * heads_.gqa_ratio * d;
  constexpr int stride = kChunkRows;
  const ptrdiff_t first_query = static_cast<ptrdiff_t>(g) * item_rows_;
  float* logits = keep ? kept(chunk, scratch) + first_query * stride : scratch.logits;
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  gemm_nt(count, columns, d, scale, q, width, scratch.keys, d, 0.0f, logits, stride);
  for (int r = 0; r < count; ++r) {
    float* row = logits + static_cast<ptrdiff_t>(r) * stride;
    if (chunk.level == 0 && pipeline_->levels()[0].masses)
      table.add_scaled(scratch.log_masses, columns, 1.0f, row);
    const int seen = std::clamp(visible + r, 0, columns);
    std::fill(row + seen, row + columns, 0.0f);
    if (seen == 0) continue;
    float &max = scratch.max[first_query + r], &sum = scratch.sum[first_query + r];
    const float top = std::max(max, table.max(row, seen));
    if (top > max && sum > 0.0f) {
      const float factor = rescale(max, top);
      table.scale(out + static_cast<ptrdiff_t>(r) * width, d, factor);
      sum *= factor;
    }
    max = top;
    sum += table.exp_sum(row, seen, top);
  }
  gemm_nn(count, d, columns, 1.0f, logits, stride, scratch.values, d,
          chunk.column == 0 ? 0.0f : 1.0f, out, width);
}

// mass[ranked rows] += the probabilities of the observed rows, over the q_heads as the plan says.
void PrefillAttention::add_mass(const Head& head, int first, int count, const Scratch& scratch,
                                float* mass) const {
  const KernelTable& table = kernels();
  const int queries = heads_.gqa_ratio * item_rows_;
  const GqaAggregate gqa = pipeline_->gqa();
  const float weight = head_weight(gqa, heads_.gqa_ratio);
  const float* max = scratch.kept_max;
  for (size_t i = head.first_chunk; i < head.last_chunk; ++i) {
    const Chunk& chunk = chunks_[i];
    if (chunk.kept_column < 0) continue;
    for (int g = 0; g < heads_.gqa_ratio; ++g)
      for (int r = 0; r < count; ++r) {
        const int query = g * item_rows_ + r;
        // Columns after the row's own place hold nothing, or the exponentials of an earlier item.
        const int last = head.rows - static_cast<int>(observed_.size()) + first + r + 1;
        const int seen = std::min(chunk.count, last - chunk.column);
        if (!observed_[static_cast<size_t>(first + r)] || seen <= 0) continue;
        float* row = kept(chunk, scratch) + static_cast<ptrdiff_t>(query) * kChunkRows;
        float factor = rescale(max[query], scratch.max[query]) / scratch.sum[query];
        factor = cast_ballots(pipeline_->scorer().ballot(), factor, last,
                              {row, static_cast<size_t>(seen)});
        if (lanes_ > 1)
          table.add_scaled(row, seen, factor, mass + (1 + g) * kept_rows_ + chunk.kept_column);
        if (gqa == GqaAggregate::max) {
          table.scale(row, seen, factor);
        } else {
          table.add_scaled(row, seen, weight * factor, mass + chunk.kept_column);
        }
        if (gqa != GqaAggregate::max || g + 1 < heads_.gqa_ratio) continue;
        const ptrdiff_t head_stride = static_cast<ptrdiff_t>(item_rows_) * kChunkRows;
        for (int c = 0; c < seen; ++c) {
          float largest = row[c];
          for (int other = 1; other <= g; ++other)
            largest = std::max(largest, row[c - other * head_stride]);
          mass[chunk.kept_column + c] += largest;
        }
      }
    max += queries;
  }
}

// Query rows first .. first+count-1 of every q_head of one kv_head.
void PrefillAttention::attend_rows(const Sequence& cache, HeadIndex index, int first, int count,
                                   int tokens, const float* q, float* out, const Scratch& scratch,
                                   float* mass) const {
  const int d = heads_.head_dim, group = heads_.gqa_ratio, width = heads_.kv_heads * group * d;
  const int queries = group * item_rows_;
  const Head& head = head_chunks_[static_cast<size_t>(index.kv_head)];
  const int visible = head.rows - tokens + first + 1;  // columns the first row sees
  const auto at = [&](int g) {
    return static_cast<ptrdiff_t>(first) * width + (index.kv_head * group + g) * d;
  };
  std::fill_n(scratch.max, queries, -std::numeric_limits<float>::infinity());
  std::fill_n(scratch.sum, queries, 0.0f);
  float* kept_max = scratch.kept_max;
  for (size_t i = head.first_chunk; i < head.last_chunk; ++i) {
    const Chunk& chunk = chunks_[i];
    const int columns = std::min(chunk.count, visible + count - 1 - chunk.column);
    if (columns <= 0) break;
    if (chunk.level == kColdRows)
      cold_->read(index.kv_head, chunk.first, columns, scratch.keys, scratch.values);
    else
      pipeline_->read_rows(cache, index, chunk.level, chunk.first, columns, scratch.keys,
                           scratch.values);
    if (chunk.level == 0 && pipeline_->levels()[0].masses) {
      const Tier& tier = cache.tier(index.layer, index.kv_head, 0);
      for (int t = 0; t < columns; ++t)
        scratch.log_masses[t] = tier.score(chunk.first + t, tier.shape().mass_lane());
    }
    const bool keep = mass && chunk.kept_column >= 0;
    for (int g = 0; g < group; ++g)
      attend_chunk(chunk, columns, g, visible - chunk.column, count, q + at(g), out + at(g),
                   scratch, keep);
    if (!keep) continue;
    std::memcpy(kept_max, scratch.max, static_cast<size_t>(queries) * sizeof(float));
    kept_max += queries;
  }
  for (int g = 0; g < group; ++g)
    for (int r = 0; r < count; ++r)
      kernels().scale(out + at(g) + static_cast<ptrdiff_t>(r) * width, d,
                      1.0f / scratch.sum[g * item_rows_ + r]);
  if (mass) add_mass(head, first, count, scratch, mass);
}

void PrefillAttention::score(Sequence* cache, int layer, int kv_head) const {
  const Head& head = head_chunks_[static_cast<size_t>(kv_head)];
  const auto kept = static_cast<size_t>(kept_rows_), stride = kept * static_cast<size_t>(lanes_);
  const float* base = mass_.data() + static_cast<size_t>(kv_head * groups_) * stride;
  const float one = 1.0f;
  const auto seen = SeenRows::of({layer, kv_head}, observed_rows_, last_position_);
  for (size_t i = head.first_chunk; i < head.last_chunk; ++i) {
    const Chunk& chunk = chunks_[i];
    if (chunk.kept_column < 0) continue;
    Tier& tier = cache->tier(layer, kv_head, chunk.level);
    tier.make_own(chunk.first / kBlockTokens,
                  (chunk.first + chunk.count + kBlockTokens - 1) / kBlockTokens);
    for (int lane = 0; lane <= tier.shape().head_scores; ++lane)
      for (int done = 0; done < chunk.count; done += kBlockTokens) {
        const int count = std::min(kBlockTokens, chunk.count - done);
        const float* part = base + static_cast<size_t>(lane) * kept + chunk.kept_column + done;
        float mass[kBlockTokens] = {};
        for (int group = 0; group < groups_; ++group, part += stride)
          for (int t = 0; t < count; ++t) mass[t] += part[t];
        pipeline_->update_scores(&tier, (chunk.first + done) / kBlockTokens, count, {mass, &one, 1},
                                 seen, lane);
      }
  }
}

// Which of the slice's rows the scorer wants to see.
void PrefillAttention::observe_rows(const Sequence& cache, int layer, int tokens) {
  const Tier& newest = cache.tier(layer, 0, 0);
  const int last = last_position_ = newest.position(newest.size() - 1);
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
  scratch_ = {};
  mass_ = {};
}

void PrefillAttention::attend(Sequence* cache, int layer, int tokens, const float* q, float* out,
                              ThreadPool* pool, const ChunkTier* chunks) {
  cold_ = chunks;
  observe_rows(*cache, layer, tokens);
  plan_chunks(*cache, layer);
  plan_scratch(tokens, pool->size());
  const bool observe = observed_rows_ > 0;
  const size_t item_mass = static_cast<size_t>(lanes_) * static_cast<size_t>(kept_rows_);
  mass_.resize(static_cast<size_t>(heads_.kv_heads * groups_) * item_mass);
  if (observe) std::memset(mass_.data(), 0, mass_.size() * sizeof(float));
  pool->run(heads_.kv_heads * groups_, [&](int64_t item, int worker) {
    const int kv_head = static_cast<int>(item) / groups_;
    const int first = static_cast<int>(item) % groups_ * item_rows_;
    const int count = std::min(item_rows_, tokens - first);
    const bool seen = std::any_of(observed_.begin() + first, observed_.begin() + first + count,
                                  [](uint8_t row) { return row != 0; });
    attend_rows(*cache, {layer, kv_head}, first, count, tokens, q, out, scratch_of(worker),
                seen ? mass_.data() + static_cast<size_t>(item) * item_mass : nullptr);
  });
  if (!observe) return;
  pool->run(heads_.kv_heads, [&](int64_t h, int) { score(cache, layer, static_cast<int>(h)); });
}

}  // namespace kvkeep
