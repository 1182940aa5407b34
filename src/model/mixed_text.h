// Tests only: strings of every kind a tokenizer meets, the same for a seed as those of
// tests/golden/mixed_text.py, and the hash under which golden files list what comes of them.
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "model/unicode.h"

namespace kvkeep {

inline std::string golden_file(const std::string& name) {
  return std::string(KVKEEP_SOURCE_DIR) + "/tests/golden/" + name;
}

inline std::vector<std::string> golden_lines(const std::string& name) {
  std::ifstream file(golden_file(name));
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

class MixedText {
 public:
  MixedText() {
    std::ifstream file(golden_file("mixed_text.json"));
    const auto parts = nlohmann::json::parse(file);
    parts.at("pieces").get_to(pieces_);
    parts.at("spaces").get_to(spaces_);
    parts.at("ranges").get_to(ranges_);
  }

  std::string make(uint64_t seed) const {
    Rng rng(seed);
    std::string text;
    const uint64_t fragments = 1 + rng.below(20);
    for (uint64_t i = 0; i < fragments; ++i) add_fragment(rng, text);
    return text;
  }

 private:
  static void add_bytes(Rng& rng, uint64_t count, uint64_t first, uint64_t range,
                        std::string& text) {
    for (uint64_t i = 0; i < count; ++i) text += static_cast<char>(first + rng.below(range));
  }

  void add_fragment(Rng& rng, std::string& text) const {
    const uint64_t kind = rng.below(10);
    if (kind < 5) {
      text += pieces_[rng.below(pieces_.size())];
    } else if (kind == 5) {
      const auto [low, high] = ranges_[rng.below(ranges_.size())];
      const uint64_t count = 1 + rng.below(6);
      for (uint64_t i = 0; i < count; ++i)
        append_utf8(text, low + static_cast<uint32_t>(rng.below(high - low + 1)));
    } else if (kind == 6) {
      const std::string& space = spaces_[rng.below(spaces_.size())];
      const uint64_t count = 1 + rng.below(6);
      for (uint64_t i = 0; i < count; ++i) text += space;
    } else if (kind == 7) {
      add_bytes(rng, 1 + rng.below(6), '0', 10, text);
    } else if (kind == 8) {
      if (rng.below(2)) text += ' ';
      add_bytes(rng, 1 + rng.below(10), 'a', 26, text);
    } else {
      add_bytes(rng, 1 + rng.below(4), 0x80, 0x80, text);
    }
  }

  std::vector<std::string> pieces_, spaces_;
  std::vector<std::pair<uint32_t, uint32_t>> ranges_;
};

// FNV-1a of the numbers as 32-bit little-endian words, as the golden files print it.
template <class Numbers>
std::string hash_text(const Numbers& numbers) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const auto number : numbers)
    for (int shift = 0; shift < 32; shift += 8)
      hash = (hash ^ (static_cast<uint64_t>(number) >> shift & 255)) * 0x100000001b3ull;
  constexpr const char* kDigits = "0123456789abcdef";
  std::string text;
  for (int shift = 60; shift >= 0; shift -= 4) text += kDigits[hash >> shift & 15];
  return text;
}

}  // namespace kvkeep
