#include <xxhash.h>

#include <cmath>
#include <cstring>

#include "base/fail.h"
#include "base/file.h"
#include "eval/predictions.h"

namespace kvkeep {
namespace {

constexpr char kMagic[] = "KVKLD001";
constexpr size_t kMagicBytes = 8;

template <class T>
void put(std::string& bytes, const T& value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put(std::string& bytes, const PredictionsKey& key) {
  put(bytes, key.model);
  put(bytes, key.text);
  for (const int32_t number : {key.context, key.step, key.bos, key.vocab}) put(bytes, number);
}

class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  template <class T>
  bool take(T& value) {
    if (bytes_.size() < sizeof value) return false;
    std::memcpy(&value, bytes_.data(), sizeof value);
    bytes_.remove_prefix(sizeof value);
    return true;
  }
  size_t left() const { return bytes_.size(); }

 private:
  std::string_view bytes_;
};

bool take(Reader& from, PredictionsKey& key) {
  return from.take(key.model) && from.take(key.text) && from.take(key.context) &&
         from.take(key.step) && from.take(key.bos) && from.take(key.vocab);
}

bool sound(const Predictions::Entry& entry, int32_t vocab) {
  return entry.token >= 0 && entry.token < vocab && std::isfinite(entry.log_p) && entry.log_p <= 0;
}

bool take(Reader& from, int32_t vocab, Predictions& window) {
  uint64_t tokens = 0;
  if (!from.take(tokens) || tokens > from.left()) return false;
  for (uint64_t i = 0; i < tokens; ++i) {
    uint32_t count = 0;
    Predictions::Row row;
    if (!from.take(count) || !from.take(row.rest)) return false;
    if (!(row.rest >= 0 && row.rest <= 1) || count < 1 || count > static_cast<uint32_t>(vocab) ||
        count > from.left() / sizeof(Predictions::Entry))
      return false;
    std::vector<Predictions::Entry> entries(count);
    for (auto& entry : entries)
      if (!from.take(entry.token) || !from.take(entry.log_p) || !sound(entry, vocab)) return false;
    row.likely = entries;
    window.add(row);
  }
  return true;
}

// What of the key differs, for the user; empty if nothing does.
std::string difference(const PredictionsKey& found, const PredictionsKey& key) {
  if (found.model != key.model || found.vocab != key.vocab) return "of another model";
  if (found.context != key.context || found.step != key.step || found.bos != key.bos)
    return fmt::format("of another protocol: --ctx {}, --step {}{}", found.context, found.step,
                       found.bos ? ", --bos" : "");
  return found.text != key.text ? "of another text or --limit" : "";
}

std::string bytes_of(const PredictionsKey& key, std::span<const Predictions> windows) {
  std::string bytes(kMagic, kMagicBytes);
  put(bytes, key);
  put(bytes, static_cast<uint64_t>(windows.size()));
  for (const auto& window : windows) {
    put(bytes, static_cast<uint64_t>(window.size()));
    for (size_t i = 0; i < window.size(); ++i) {
      const auto row = window.row(i);
      put(bytes, static_cast<uint32_t>(row.likely.size()));
      put(bytes, row.rest);
      for (const auto& entry : row.likely) {
        put(bytes, entry.token);
        put(bytes, entry.log_p);
      }
    }
  }
  put(bytes, XXH64(bytes.data(), bytes.size(), 0));
  return bytes;
}

}  // namespace

Result<void> save_predictions(const std::string& path, const PredictionsKey& key,
                              std::span<const Predictions> windows) {
  return write_file(path, bytes_of(key, windows));
}

Result<std::vector<Predictions>> load_predictions(const std::string& path,
                                                  const PredictionsKey& key) {
  constexpr size_t kMostBytes = size_t{1} << 36;
  const auto bytes = read_file(path, kMostBytes);
  if (!bytes) return tl::unexpected(bytes.error());
  return parse_predictions(*bytes, path, key);
}

Result<std::vector<Predictions>> parse_predictions(std::string_view bytes, const std::string& path,
                                                   const PredictionsKey& key) {
  const auto damaged = [&] { return bad_input("'{}' is no sound reference of task kld", path); };
  uint64_t sum = 0, count = 0;
  if (bytes.size() < kMagicBytes + sizeof sum || !bytes.starts_with(kMagic)) return damaged();
  const size_t body = bytes.size() - sizeof sum;
  std::memcpy(&sum, bytes.data() + body, sizeof sum);
  if (sum != XXH64(bytes.data(), body, 0)) return damaged();
  Reader from(bytes.substr(kMagicBytes, body - kMagicBytes));
  PredictionsKey found;
  if (!take(from, found) || !from.take(count) || count > from.left() / sizeof count)
    return damaged();
  if (const auto what = difference(found, key); !what.empty())
    return bad_input("'{}' is {}", path, what);
  std::vector<Predictions> windows(count);
  for (auto& window : windows)
    if (!take(from, found.vocab, window)) return damaged();
  if (from.left() > 0) return damaged();
  return windows;
}

}  // namespace kvkeep
