// Several needles in one haystack (RULER's multi-key needle, Hsieh et al. 2024): four lines of a
// record between the sentences of a real text, each asked for by its name, in turn. A plan that
// keeps what stands out must keep all four.
#include "eval/multi_needle.h"

#include "eval/record.h"

namespace kvkeep {
namespace {

constexpr int kNeedles = 4;

const RecallTask& multi_needle_task() {
  static const RecallTask task = {
      .name = "multi_needle", .end = '>', .make = make_multi_needle, .lead = ""};
  return task;
}

}  // namespace

Result<RecallSample> make_multi_needle(const TaskInput& in, int index) {
  Rng rng = sample_rng(in, index);
  const RecordStyle& style = lines_style();
  std::vector<Fact> facts;
  std::vector<RecallQuestion> questions;
  for (int i = 0; i < kNeedles; ++i) {
    const std::string key = compound_key(rng), value = random_digits(rng, style.digits);
    const double depth = (static_cast<double>(i) + rng.uniform()) / kNeedles;
    facts.push_back({"\n" + style.entry(key, value), depth});
    questions.push_back({style.ask(key), {value}});
  }
  const int length = in.options.context;
  const auto sentences = text_sentences(in.text, static_cast<size_t>(length) * 8, rng);
  if (!sentences) return tl::unexpected(sentences.error());
  return fill_length(in, multi_needle_task(), length, sentences->size(), [&](size_t n) {
    return RecallSample{hide_facts(style.head, std::span(*sentences).first(n), facts), questions};
  });
}

Result<TaskResult> run_multi_needle(const TaskInput& in) {
  return run_recall(in, multi_needle_task());
}

}  // namespace kvkeep
