// Records of keys and values that fill a context: as many entries as leave room for the questions
// and answers, or as the style allows. Keys are words, values digits, so nothing but the record
// tells the answer.
#pragma once

#include <string>

#include "base/rng.h"
#include "eval/recall.h"

namespace kvkeep {

struct RecordStyle {
  std::string head;
  int digits;                    // of a value
  size_t most;                   // entries, so that drawing different keys stays quick
  std::string (*key)(Rng& rng);  // repeated ones are drawn again
  std::string (*entry)(const std::string& key, const std::string& value);
  std::string (*ask)(const std::string& key);
};

const RecordStyle& lines_style();
const RecordStyle& dictionary_style();

// A record with five questions, one about each fifth of it; the middle of it is the answer's depth.
Result<RecallSample> make_record(const TaskInput& in, const RecordStyle& style, int index);

std::string compound_key(Rng& rng);  // adjective-noun, one of 12,969
std::string noun_key(Rng& rng);      // one of 131

std::string random_digits(Rng& rng, int n);
// A generator for sample `index` of a run.
Rng sample_rng(const TaskInput& in, int index);

}  // namespace kvkeep
