// Parts of task copy, for its test.
#pragma once

#include "eval/recall.h"

namespace kvkeep {

// As many random words (quiet-river) as the context holds twice, at most 64.
Result<RecallSample> make_copy(const TaskInput& in, int index);

// Share of the passage's words that were said before the first wrong or missing one.
double words_before_error(const std::string& said, const RecallQuestion& question);

}  // namespace kvkeep
