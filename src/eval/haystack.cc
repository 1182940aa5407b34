#include "eval/haystack.h"

#include <cmath>
#include <iterator>

#include "base/fail.h"

namespace kvkeep {
namespace {

constexpr const char* kFiller[] = {"The grass is green.", "The sky is blue.", "The sun is yellow.",
                                   "Here we go.", "There and back again."};
constexpr double kDepths[] = {0, 0.25, 0.5, 0.75, 1};
constexpr int kLengths = 4;

}  // namespace

GridPlace grid_place(const TaskOptions& options, int index) {
  const auto i = static_cast<size_t>(index);
  const int quarters = kLengths - static_cast<int>(i / std::size(kDepths) % kLengths);
  return {kDepths[i % std::size(kDepths)], options.context * quarters / kLengths};
}

std::string hide_facts(const std::string& head, std::span<const std::string> sentences,
                       std::span<const Fact> facts) {
  const auto before = [&](const Fact& fact) {
    return static_cast<size_t>(std::lround(fact.depth * static_cast<double>(sentences.size())));
  };
  std::string text = head;
  for (size_t i = 0; i <= sentences.size(); ++i) {
    for (const auto& fact : facts)
      if (before(fact) == i) text += fact.text;
    if (i < sentences.size()) text += (text.size() > head.size() ? " " : "") + sentences[i];
  }
  return text;
}

std::vector<std::string> filler_sentences(int n) {
  std::vector<std::string> sentences;
  for (int i = 0; i < n; ++i)
    sentences.emplace_back(kFiller[static_cast<size_t>(i) % std::size(kFiller)]);
  return sentences;
}

Result<std::vector<std::string>> text_sentences(std::string_view text, size_t bytes, Rng& rng) {
  std::vector<std::string> sentences;
  if (text.find(". ") == std::string_view::npos)
    return bad_input("the text has no two sentences to hide a fact between");
  size_t offset = text.find(". ", rng.below(text.size()));
  offset = offset == std::string_view::npos ? 0 : offset + 2;
  for (size_t taken = 0; taken < bytes;) {
    const size_t stop = text.find(". ", offset);
    if (stop == std::string_view::npos) {
      offset = 0;
      continue;
    }
    sentences.emplace_back(text.substr(offset, stop + 1 - offset));
    taken += sentences.back().size() + 1;
    offset = stop + 2;
  }
  return sentences;
}

Result<RecallSample> fill_length(const TaskInput& in, const RecallTask& task, int length,
                                 size_t most, const std::function<RecallSample(size_t)>& make) {
  const auto fits = [&](size_t n) {
    return recall_tokens(in.model, make(n), task.answer_tokens) <= length;
  };
  if (!fits(0))
    return bad_input("{} tokens are too few for a sample of task {} with its question (--ctx {})",
                     length, task.name, in.options.context);
  size_t low = 0, high = most + 1;
  while (high - low > 1) {
    const size_t middle = (low + high) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return make(low);
}

}  // namespace kvkeep
