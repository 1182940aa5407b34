// The prompt of task multi_needle, for its test.
#pragma once

#include "eval/haystack.h"

namespace kvkeep {

// Four named numbers in book text, asked for in turn.
Result<RecallSample> make_multi_needle(const TaskInput& in, int index);

}  // namespace kvkeep
