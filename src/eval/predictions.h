// What the f16 cache predicted, small enough to keep: the reference of task kld, in memory and as a
// file.
//
// Of each token's distribution the likeliest next tokens are kept, as many as make up 99.99 % of it
// (at most 4,096), and the rest as one number. The divergence over these parts is never above the
// whole one (data processing inequality), and it is 0 for equal logits.
//
// File: "KVKLD001", the key below, u64 windows; of each window u64 tokens, then per token u32
// count, f64 rest, count x (i32 token, f32 log-probability); last u64 XXH64 of all before. Little
// endian. Files are untrusted: every number is checked before use.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvkeep/error.h"

namespace kvkeep {

class Predictions {
 public:
  struct Entry {
    int32_t token;
    float log_p;
  };
  struct Row {
    std::span<const Entry> likely;  // likeliest first, never empty
    double rest = 0;                // probability of all others
  };

  void add(std::span<const float> logits);
  void add(const Row& row);
  size_t size() const { return rests_.size(); }
  Row row(size_t i) const;

  // KL(row i || softmax of the logits) in nats.
  double divergence(size_t i, std::span<const float> logits) const;

 private:
  std::vector<Entry> entries_;
  std::vector<size_t> ends_;  // of each row in entries_
  std::vector<double> rests_;
};

// What must be the same for two runs to be compared.
struct PredictionsKey {
  uint64_t model = 0;  // fingerprint
  uint64_t text = 0;   // XXH64 of the windows' tokens
  int32_t context = 0, step = 0, bos = 0, vocab = 0;
};

// Writes beside the file and renames, so that nothing half-written stands under its name.
Result<void> save_predictions(const std::string& path, const PredictionsKey& key,
                              std::span<const Predictions> windows);
// bad_input for anything that is no sound file, or one of another model, text or protocol.
Result<std::vector<Predictions>> load_predictions(const std::string& path,
                                                  const PredictionsKey& key);
// The same from the file's bytes.
Result<std::vector<Predictions>> parse_predictions(std::string_view bytes, const std::string& path,
                                                   const PredictionsKey& key);

}  // namespace kvkeep
