// The prompt of task needle, for its test.
#pragma once

#include "eval/haystack.h"

namespace kvkeep {

// The sample that fills its length best.
Result<RecallSample> make_needle(const TaskInput& in, int index);

}  // namespace kvkeep
