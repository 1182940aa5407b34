// The metadata half of a GGUF file: typed values and arrays of them.
#pragma once

#include <map>
#include <string>

#include "model/gguf.h"
#include "model/gguf_reader.h"

namespace kvkeep {

// Reads `count` key-value pairs; on failure the reader holds the error and the rest is missing.
std::map<std::string, GgufValue, std::less<>> read_gguf_metadata(GgufReader& reader,
                                                                 uint64_t count);

// What a value is, for messages: "integer", "array of text".
const char* gguf_value_kind(const GgufValue& value);

}  // namespace kvkeep
