// Greedy merging of neighbours, best first and leftmost among equals, in O(n log n): the part that
// BPE and SentencePiece share. They differ in what makes two neighbours mergeable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <queue>
#include <string_view>
#include <vector>

namespace kvkeep {

struct Symbol {
  int32_t id = -1;         // -1: no token has this text
  std::string_view bytes;  // empty once merged into the symbol before it
  size_t previous, next;   // kNoSymbol at the ends
};
constexpr size_t kNoSymbol = std::numeric_limits<size_t>::max();

// What two neighbours would become; a lower cost merges first. id -1: nothing.
struct Merge {
  double cost = 0;
  int32_t id = -1;
};

inline void append_symbol(std::vector<Symbol>& symbols, int32_t id, std::string_view bytes) {
  const size_t index = symbols.size();
  if (index > 0) symbols.back().next = index;
  symbols.push_back({id, bytes, index > 0 ? index - 1 : kNoSymbol, kNoSymbol});
}

// Merges in place until no neighbours fit: `find(left, right)` gives their Merge. The symbols that
// remain are those with bytes.
template <class Find>
void merge_symbols(std::vector<Symbol>& symbols, const Find& find) {
  struct Candidate {
    double cost;
    size_t left, size;  // size of both texts: tells whether either has grown since
    int32_t id;
    bool operator<(const Candidate& other) const {
      return cost != other.cost ? cost > other.cost : left > other.left;
    }
  };
  std::priority_queue<Candidate> queue;
  const auto consider = [&](size_t left) {
    if (left == kNoSymbol || symbols[left].next == kNoSymbol) return;
    const Symbol& right = symbols[symbols[left].next];
    const Merge merge = find(symbols[left], right);
    if (merge.id >= 0)
      queue.push({merge.cost, left, symbols[left].bytes.size() + right.bytes.size(), merge.id});
  };
  for (size_t i = 0; i + 1 < symbols.size(); ++i) consider(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[best.left];
    if (left.bytes.empty() || left.next == kNoSymbol) continue;
    Symbol& right = symbols[left.next];
    if (left.bytes.size() + right.bytes.size() != best.size) continue;
    left.id = best.id;
    left.bytes = {left.bytes.data(), best.size};
    left.next = right.next;
    if (right.next != kNoSymbol) symbols[right.next].previous = best.left;
    right.bytes = {};
    consider(left.previous);
    consider(best.left);
  }
}

}  // namespace kvkeep
