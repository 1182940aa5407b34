// The prompt of task variable_tracking, for its test.
#pragma once

#include <string>
#include <vector>

#include "eval/haystack.h"

namespace kvkeep {

// " VAR A = 12345." and then each next name set to the one before it, evenly through the sentences.
RecallSample chain_sample(const std::string& value, const std::vector<std::string>& names,
                          int sentences);
Result<RecallSample> make_chain(const TaskInput& in, int index);

}  // namespace kvkeep
