// What `kvkeep calibrate` reads: a quarter prose, a quarter its words out of order, half made-up
// records.
//
// Predictors that were fitted to prose alone erred several times more on records of names and
// numbers. So every second window is a record with questions and answers, of the kinds that the
// tasks lines and kv_recall ask for, from seeds that no task uses by default. And every fourth is
// prose with its tokens in random order: on text of another kind than the calibration's, tokens
// follow one another in ways that it never showed, and predictors must not lean on the usual ones.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "kvkeep/error.h"
#include "kvkeep/model.h"

namespace kvkeep {

// Windows of `context` tokens or a little less, about `tokens` together. Prose is taken from places
// spread evenly over the text. bad_input when that is too little or the text too short.
Result<std::vector<std::vector<int32_t>>> calibration_windows(const Model& model,
                                                              std::string_view text, int context,
                                                              int64_t tokens, uint64_t seed);

}  // namespace kvkeep
