// Which of the tokens that a plan would send down stay for the others: some places of the budget go
// to representatives of the rows that leave, so that groups of similar tokens are not lost whole.
//
//   rows of a tier = pinned + important (best scores) + candidates
//   candidates     = representatives, which stay, + rows that leave
//
// Places are carved out of the budget, never added to it: `share` of all places of the high level.
// Representatives hold no claim: at the next compression they are rows like others. A method is one
// .cc file and one row in methods.inc; it is stateless and sees one layer at a time, because what a
// token means to one head may be known to another.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "codec/registry.h"
#include "kvkeep/plan.h"

namespace kvkeep {

// An f16 as a signed word whose order is that of the numbers, of any sign; what is no number is the
// least.
constexpr uint16_t ordered_f16(uint16_t word) {
  if ((word & 0x7fffu) > 0x7c00u) return 0x8000;
  return static_cast<uint16_t>(word & 0x8000u ? word ^ 0x7fffu : word);
}

// The rows of one (layer, kv_head), ascending by position.
struct HeadRows {
  std::vector<int> slots;
  std::vector<int32_t> positions;
  std::vector<float> scores;          // of the kv_head; not NaN
  std::vector<uint8_t> pinned;        // 1: stays, whatever its score
  std::vector<uint16_t> head_scores;  // [q_heads, or 1][rows] ordered_f16: as each q_head sees it
  int leave = 0;                      // rows that go down: at most those not pinned
  int representatives = 0;            // places for them among the rows not pinned that stay

  size_t size() const { return slots.size(); }
};

// Marks of the rows that stay, [rows] of each kv_head.
using Stays = std::vector<std::vector<uint8_t>>;

class Representatives {
 public:
  explicit Representatives(const Plan::Slot& slot) : share_(slot.number("share")) {}
  virtual ~Representatives() = default;

  // Of the places of the high level.
  double share() const { return share_; }
  // Whether HeadRows::head_scores are asked for, and whether one for every q_head.
  virtual bool asks_head_scores() const { return false; }
  virtual bool asks_q_heads() const { return false; }

  // For every kv_head of a layer that has seen `tokens` tokens: exactly `leave` rows do not stay.
  virtual Stays choose(int layer, int tokens, std::span<const HeadRows> heads) const = 0;

 private:
  double share_;
};

// Rows that are neither pinned nor among the best: leave + representatives of them, ascending.
std::vector<size_t> candidates(const HeadRows& rows);

// All rows stay but those candidates that are not picked; picks index `candidates`.
std::vector<uint8_t> stay_but(const HeadRows& rows, std::span<const size_t> candidates,
                              std::span<const size_t> picks);

// The representatives a slot names; nullptr for "none".
std::unique_ptr<Representatives> make_representatives(const Plan::Slot& slot);

#define KVKEEP_REPRESENTATIVES(function, ...) \
  std::unique_ptr<Representatives> make_representatives_##function(const Plan::Slot& slot);
#include "codec/representatives/methods.inc"
#undef KVKEEP_REPRESENTATIVES

}  // namespace kvkeep
