// The prompt of task passkey, for its test.
#pragma once

#include <string>

#include "eval/recall.h"

namespace kvkeep {

// `sentences` of filler with the key at `depth` (0 start, 1 end) of them.
RecallSample passkey_sample(const std::string& key, double depth, int sentences);
// The sample that fills the context best.
Result<RecallSample> make_passkey(const TaskInput& in, int index);

}  // namespace kvkeep
