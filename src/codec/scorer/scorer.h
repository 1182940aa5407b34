// How important a token is: higher = keep. A scorer that observes attention has one score per token
// of one (layer, kv_head), held in the cache beside the token, which every read fades and adds to:
// score = fade * score + mass. One that observes keys looks at the rows when they are ranked, and
// one that observes queries at what is known of them by then; neither costs the cache a byte per
// token.
//
// A method is one .cc file and one row in methods.inc. Scorers are stateless after construction and
// are called for different (layer, kv_head) from several threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "codec/query_stats.h"
#include "codec/registry.h"
#include "kvkeep/plan.h"

namespace kvkeep {

// How the q_heads that share a kv_head count together: their attention added up, averaged, or the
// largest of them in each row. Sum and mean rank alike while scores stay within f16 range.
enum class GqaAggregate { sum, mean, max };

// What an observed row gives a token it sees: its softmax probability, or -1 if that is below the
// mean of all tokens the row sees and 0 if not.
enum class Ballot { mass, below_mean };

// The rows of one tier that compete for its places.
struct RankInput {
  int layer = 0, kv_head = 0;
  int tokens = 0;                        // seen so far
  std::span<const int32_t> positions;    // ascending
  std::span<const uint8_t> pinned = {};  // 1: the row stays whatever it scores; empty: none is
  int keep = 0;                          // rows that will stay, the pinned among them
  int head_dim = 0;
  // Rows first .. first+count-1, dequantized: keys after RoPE and values, [count][head_dim]; values
  // are left out if null. For scorers that observe keys.
  std::function<void(size_t first, size_t count, float* keys, float* values)> read = {};
  const QueryStats* queries = nullptr;  // for scorers that observe queries
};

// see(index, key, value) for every row in turn, at a bounded cost in memory.
template <class See>
void for_each_row(const RankInput& input, const See& see) {
  constexpr size_t kRows = 64;
  const auto d = static_cast<size_t>(input.head_dim);
  std::vector<float> keys(kRows * d), values(kRows * d);
  for (size_t first = 0; first < input.positions.size(); first += kRows) {
    const size_t count = std::min(kRows, input.positions.size() - first);
    input.read(first, count, keys.data(), values.data());
    for (size_t i = 0; i < count; ++i) see(first + i, keys.data() + i * d, values.data() + i * d);
  }
}

class Scorer {
 public:
  virtual ~Scorer() = default;

  // For scorers that observe attention. Of a read whose last row stands at `last`, only rows for
  // which observes_row() is true are shown, and what they give is as ballot() says.
  virtual bool observes_row(int /*position*/, int /*last*/) const { return true; }
  virtual Ballot ballot() const { return Ballot::mass; }
  // What is left of a score when `rows` more rows are observed. A token's mass is what these gave
  // it, summed over them and taken over the q_heads of its kv_head as `gqa` says.
  virtual float fade(int /*rows*/) const { return 1.0f; }

  // Final scores, before rows are chosen: in come the kept scores (zero if there are none).
  virtual void rank(const RankInput&, std::span<float> /*scores*/) const {}
};

#define KVKEEP_SCORER(name, ...) std::unique_ptr<Scorer> make_scorer_##name(const Plan::Slot& slot);
#include "codec/scorer/methods.inc"
#undef KVKEEP_SCORER

// The scorer a plan's slot names.
std::unique_ptr<Scorer> make_scorer(const Plan::Slot& slot);

}  // namespace kvkeep
