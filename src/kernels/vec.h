// The Vec operations of the instruction set being compiled. A source per ISA names it before any
// include: KVKEEP_TARGET is its namespace, KVKEEP_VEC the header of its operations.
#pragma once

#include KVKEEP_VEC

namespace kvkeep::KVKEEP_TARGET {

// body(0), body(1) ... with constants, before gcc decides which arrays stay in registers: one that
// is indexed by a loop variable, even of a loop that is unrolled later, does not.
template <int kIndex>
struct Index {
  constexpr operator int() const { return kIndex; }
};
template <int kCount, int kFirst = 0, class Body>
[[gnu::always_inline]] inline void repeat(const Body& body) {
  if constexpr (kFirst < kCount) {
    body(Index<kFirst>());
    repeat<kCount, kFirst + 1>(body);
  }
}
#define KVKEEP_INLINE __attribute__((always_inline))

}  // namespace kvkeep::KVKEEP_TARGET
