// One sequence on one model with one compressed cache.
//
//   auto model = kvkeep::Model::load("model.gguf");
//   auto plan = kvkeep::Plan::parse("mikv:keep=0.2");
//   auto session = kvkeep::Session::create(*model, *plan, {});
//   session->prefill(model->encode(text, true));          // exact, then compressed
//   int32_t token = session->sample();                    // greedy
//   session->step(token);                                 // decode on the compressed cache
//   auto report = session->report();
//
// A session is used from one thread at a time and uses `threads` cores itself.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kvkeep/error.h"
#include "kvkeep/model.h"
#include "kvkeep/plan.h"
#include "kvkeep/progress.h"
#include "kvkeep/report.h"

namespace kvkeep {

struct SessionOptions {
  int threads = 0;  // 0: all cores this process may use
  int context = 0;  // 0: the model's; the largest number of tokens
  // The file that plans with a predictor need; empty: one for the plan beside the model's file.
  std::string calibration = {};
};

class Session {
 public:
  // bad_input when plan and model do not fit together (a group that the head_dim cannot hold).
  static Result<Session> create(const Model& model, const Plan& plan,
                                const SessionOptions& options);
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  // Feeds tokens in slices; attention inside this call is exact, over what the cache holds before
  // it. Nothing is compressed. If all_logits is not null it receives [tokens][vocab].
  // bad_input when the context would overflow (nothing is fed then) or a token is out of range.
  Result<void> feed(std::span<const int32_t> tokens, std::vector<float>* all_logits = nullptr,
                    const ProgressFn& progress = {});
  // Brings every tier to its quota, as the plan says. Idempotent.
  Result<void> compress();
  // feed() then compress(): the prompt.
  Result<void> prefill(std::span<const int32_t> tokens, const ProgressFn& progress = {});
  // feed() of one token, then demotions in batches of the plan's `demote` rows: one decode step.
  Result<void> step(int32_t token);
  // step(tokens[i]) of every *sessions[i], together: the same logits and caches bit for bit, but
  // weights are read once for all, and the threads of the first session share the work of all.
  // 1 to 256 sessions of one Model (or its copies), each once; plans and lengths may differ.
  // bad_input when that is not so, a context is full or a token is out of range: nothing is fed to
  // anyone then, nor when one of the sessions had ended. Where a step fails on its way (NaN), the
  // error names the first session that ended by it, and the others have taken their tokens; out of
  // memory ends all.
  static Result<void> step(std::span<Session* const> sessions, std::span<const int32_t> tokens);

  // Takes the last n tokens back, as after a rejected draft: their rows leave the cache and the
  // next token takes their place. Rows that went down because of them stay down. logits() is empty
  // until the next token. bad_input, and nothing changes, when more were asked than can be found
  // again: a low level that stores no positions cannot tell which of its rows are the newest.
  Result<void> rollback(int n);
  // A session that continues from here on its own. Blocks of the cache are shared until one of the
  // two writes to them; both may then be used at the same time. threads = 0: as many
  // as this session has.
  Result<Session> fork(int threads = 0) const;

  std::span<const float> logits() const;  // [vocab] after the last token; empty before the first
  // Next token: the most likely one if temperature == 0, else sampled from the smallest set of
  // tokens whose probability reaches top_p. Advances the generator seeded by `seed(...)`; -1 if
  // nothing was fed.
  int32_t sample(float temperature = 0.0f, float top_p = 1.0f);
  void seed(uint64_t seed);

  int tokens() const;  // fed so far
  int context() const;
  int threads() const;
  CacheReport report(bool per_layer = false) const;
  TierMap tier_map() const;  // after the last whole feed, step or compress

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvkeep
