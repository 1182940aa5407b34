// A number between filler sentences, over depths and lengths (Mohtashami and Jaggi 2023): one fact
// that stands out, so a plan that keeps what is unusual finds it at any depth.
#include "eval/passkey.h"

#include "eval/hidden_fact.h"
#include "eval/record.h"

namespace kvkeep {
namespace {

const RecallTask& passkey_task() {
  static const RecallTask task = {.name = "passkey", .end = '>', .make = make_passkey, .lead = ""};
  return task;
}

}  // namespace

RecallSample passkey_sample(const std::string& key, const GridPlace& at, int sentences) {
  const Fact fact{fact_text(key), at.depth};
  return {hide_facts(kFactHead, filler_sentences(sentences), {&fact, 1}),
          {{kFactQuestion, {key}}},
          at.place()};
}

Result<RecallSample> make_passkey(const TaskInput& in, int index) {
  Rng rng = sample_rng(in, index);
  const std::string key = random_digits(rng, 5);
  const GridPlace at = grid_place(in.options, index);
  const auto most = static_cast<size_t>(at.length);  // a sentence has at least one token
  return fill_length(in, passkey_task(), at.length, most,
                     [&](size_t n) { return passkey_sample(key, at, static_cast<int>(n)); });
}

Result<TaskResult> run_passkey(const TaskInput& in) { return run_recall(in, passkey_task()); }

}  // namespace kvkeep
