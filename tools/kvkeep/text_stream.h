// Bytes of a generated text on their way to a terminal: only whole UTF-8 sequences leave, because a
// token may end in the middle of one; bytes that are no UTF-8 leave as U+FFFD.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace kvkeep {

class TextStream {
 public:
  // What can be printed now that these bytes have come.
  std::string push(std::string_view bytes) {
    pending_ += bytes;
    return take(false);
  }
  // The rest, at the end of the text.
  std::string finish() { return take(true); }

 private:
  static constexpr const char* kReplacement = "\xef\xbf\xbd";

  // Length of the sequence that begins with this byte; 0 when none does.
  static size_t sequence_length(unsigned char first) {
    if (first < 0x80) return 1;
    if (first >= 0xc2 && first < 0xe0) return 2;
    if (first >= 0xe0 && first < 0xf0) return 3;
    return first >= 0xf0 && first < 0xf5 ? 4 : 0;
  }
  // May `next` be the second byte? Refuses overlong forms, surrogates and what is past U+10FFFF.
  static bool second_fits(unsigned char first, unsigned char next) {
    if (first == 0xe0) return next >= 0xa0 && next < 0xc0;
    if (first == 0xed) return next >= 0x80 && next < 0xa0;
    if (first == 0xf0) return next >= 0x90 && next < 0xc0;
    if (first == 0xf4) return next >= 0x80 && next < 0x90;
    return next >= 0x80 && next < 0xc0;
  }

  std::string take(bool all) {
    std::string out;
    size_t i = 0;
    while (i < pending_.size()) {
      const auto byte = [&](size_t at) { return static_cast<unsigned char>(pending_[at]); };
      const size_t length = sequence_length(byte(i));
      size_t good = length > 0 ? 1 : 0;
      while (good > 0 && good < length && i + good < pending_.size() &&
             (good == 1 ? second_fits(byte(i), byte(i + 1)) : (byte(i + good) & 0xc0) == 0x80))
        ++good;
      if (good == length && length > 0) {
        out.append(pending_, i, length);
        i += length;
      } else if (i + good == pending_.size() && good > 0 && !all) {
        break;  // the rest may still come
      } else {
        out += kReplacement;
        i += good > 0 ? good : 1;
      }
    }
    pending_.erase(0, i);
    return out;
  }

  std::string pending_;
};

}  // namespace kvkeep
