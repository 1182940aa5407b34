// Needle in a haystack (Kamradt 2023): a sentence between those of a real text, over depths and
// lengths. Without a sentence of the user's it is the pass key, which the embedded model can find.
#include "eval/needle.h"

#include "base/fail.h"
#include "eval/answer_score.h"
#include "eval/hidden_fact.h"
#include "eval/record.h"

namespace kvkeep {
namespace {

// The prompt around the fact, and how what the model says is scored.
struct Needle {
  std::string head, fact, question, answer;
};

Needle needle_of(const TaskOptions& options, Rng& rng) {
  const std::string key = random_digits(rng, 5);
  if (options.needle.empty()) return {kFactHead, fact_text(key), kFactQuestion, key};
  return {"", " " + options.needle, "\n" + options.question, options.answer};
}

RecallTask needle_task(const TaskOptions& options) {
  if (options.needle.empty())
    return {.name = "needle", .end = '>', .make = make_needle, .lead = ""};
  return {"needle", '\n', make_needle, 32, {{"accuracy", contains_all}}};
}

}  // namespace

Result<RecallSample> make_needle(const TaskInput& in, int index) {
  Rng rng = sample_rng(in, index);
  const GridPlace at = grid_place(in.options, index);
  const Needle needle = needle_of(in.options, rng);
  const auto sentences = text_sentences(in.text, static_cast<size_t>(at.length) * 8, rng);
  if (!sentences) return tl::unexpected(sentences.error());
  const Fact fact{needle.fact, at.depth};
  const auto make = [&](size_t n) {
    return RecallSample{hide_facts(needle.head, std::span(*sentences).first(n), {&fact, 1}),
                        {{needle.question, {needle.answer}}},
                        at.place()};
  };
  return fill_length(in, needle_task(in.options), at.length, sentences->size(), make);
}

Result<TaskResult> run_needle(const TaskInput& in) {
  const TaskOptions& o = in.options;
  if (!o.needle.empty() && (o.question.empty() || o.answer.empty()))
    return bad_input("--needle needs --question and --answer");
  if (o.needle.empty() && !(o.question.empty() && o.answer.empty()))
    return bad_input("--question and --answer belong to --needle");
  return run_recall(in, needle_task(o));
}

}  // namespace kvkeep
