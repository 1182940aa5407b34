// f16 parts hold plain half-precision words: K tile = [dim][16 tokens], V tile = [16 tokens][dim].
#pragma once

#include <cstdint>

namespace kvkeep::KVKEEP_TARGET {

// Index of a word inside its tile.
inline int f16_key_word(int token, int dim) { return dim * 16 + token; }
inline int f16_value_word(int token, int dim, int head_dim) { return token * head_dim + dim; }

}  // namespace kvkeep::KVKEEP_TARGET
