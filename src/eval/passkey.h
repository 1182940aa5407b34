// The prompt of task passkey, for its test.
#pragma once

#include <string>

#include "eval/haystack.h"

namespace kvkeep {

// `sentences` of filler with the key at `depth` (0 start, 1 end) of them.
RecallSample passkey_sample(const std::string& key, const GridPlace& at, int sentences);
// The sample that fills its length best.
Result<RecallSample> make_passkey(const TaskInput& in, int index);

}  // namespace kvkeep
