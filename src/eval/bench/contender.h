// Who takes part in `kvkeep bench decode`: a cache of some depth that can decode further tokens.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "eval/bench/process.h"
#include "kvkeep/model.h"
#include "kvkeep/plan.h"

namespace kvkeep::bench {

inline constexpr const char* kOwnEngine = "kvkeep";

class Contender {
 public:
  virtual ~Contender() = default;
  virtual std::string engine() const = 0;
  virtual std::string mode() const = 0;
  virtual int tokens() const = 0;                // in the cache of a sequence
  virtual size_t cache_bytes() const = 0;        // of all sequences; 0 when unknown
  virtual Result<double> decode(int steps) = 0;  // seconds, divided by the sequences
};

// This engine, as sessions run it that take their steps together.
struct OwnCaches {
  int sequences = 1, depth = 0, room = 0;
  bool made_up_rows = false;  // instead of tokens that the model reads
};
Result<std::unique_ptr<Contender>> make_own(const Model& model, const Plan& plan,
                                            const OwnCaches& caches, ThreadPool* pool);

// One mode of a rival, which has answered to "hello". It outlives the contender.
Result<std::unique_ptr<Contender>> make_rival(Rival* rival, const std::string& engine,
                                              const std::string& mode, const Model& model,
                                              int depth, int room, int threads);

}  // namespace kvkeep::bench
