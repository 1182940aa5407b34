// The comparison of task generate, for its test.
#pragma once

#include <cstdint>
#include <vector>

namespace kvkeep {

// {share of equal tokens, tokens before the first difference, 1 if there is none} of two
// continuations of the same length, at least 1.
std::vector<double> compare_continuations(const std::vector<int32_t>& said,
                                          const std::vector<int32_t>& exact);

}  // namespace kvkeep
