// Contexts of filler or book sentences with facts hidden between them, on a grid of depths and
// lengths: the prompts of passkey, needle, multi_needle and variable_tracking.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "eval/recall.h"

namespace kvkeep {

// Sample i stands at depth i mod 5 of its sentences (0 start, 1 end) and takes, by turns of five,
// all of the context, three quarters, half and a quarter of it.
struct GridPlace {
  double depth = 0;
  int length = 0;  // tokens, question and answer included

  Place place() const { return {{"length", static_cast<double>(length)}, {"depth", depth}}; }
};
GridPlace grid_place(const TaskOptions& options, int index);

struct Fact {
  std::string text;  // begins with its own blank or line feed
  double depth = 0;
};

// The head, then the sentences with a blank between them; each fact, in the order given, before
// sentence round(depth * count).
std::string hide_facts(const std::string& head, std::span<const std::string> sentences,
                       std::span<const Fact> facts);

// n sentences about grass, sky and sun, over and over.
std::vector<std::string> filler_sentences(int n);
// Sentences of the text from a random place on, round its end if it must, of about `bytes` bytes;
// bad_input when the text has none.
Result<std::vector<std::string>> text_sentences(std::string_view text, size_t bytes, Rng& rng);

// The sample of the most sentences, up to `most`, that fits `length` tokens; bad_input when not
// even the one without sentences does.
Result<RecallSample> fill_length(const TaskInput& in, const RecallTask& task, int length,
                                 size_t most, const std::function<RecallSample(size_t)>& make);

}  // namespace kvkeep
