// Samples of question answering from JSON Lines, in the field names of LongBench (`context`,
// `input`, `answers`, `dataset`) and of RULER (`input`, `outputs`, `answer_prefix`).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "eval/recall.h"

namespace kvkeep {

// One sample a line; blank lines are skipped. Of RULER's lines, which hold context and question in
// one, the text from the last line feed on is the question. bad_input with "name:line" for a line
// that is no such object, and for a text without any.
Result<std::vector<RecallSample>> parse_samples(std::string_view text, const std::string& name);

// Cuts the middle out of a sample's context, as LongBench does, so that it fits `context` tokens
// with its questions and answers; whether it had to. bad_input when the question alone is too long.
Result<bool> cut_middle(const Model& model, RecallSample& sample, int context, int answer_tokens);

}  // namespace kvkeep
