// A number hidden early in a book passage and asked for at its end: does the compressed cache still
// hold it? The question comes after the compression, so no plan can know what will be asked.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kvkeep/model.h"
#include "kvkeep/plan.h"
#include "kvkeep/progress.h"
#include "kvkeep/report.h"

namespace kvkeep {

// The prompt that the embedded model was trained on.
inline constexpr const char* kFactHead =
    "There is important information hidden inside this text. Find it and remember it.\n";
inline constexpr const char* kFactQuestion = "\nWhat is the pass key? The pass key is <";
std::string fact_text(const std::string& key);

struct HiddenFact {
  std::string fact, question, answer;  // the sentence in the passage, what is asked, five digits
  std::vector<int32_t> passage, question_tokens;
};

// A passage of exactly `tokens` tokens with the fact at `depth` (0 start, 1 end) of its sentences,
// taken from the text at *offset, which moves to where the next passage can begin (round the end of
// the text if it must). bad_input when the text is too short.
Result<HiddenFact> hide_fact(const Model& model, std::string_view text, size_t* offset,
                             double depth, int tokens, uint64_t seed);

struct FactAnswer {
  std::string text;
  bool right = false;
  CacheReport cache;  // after the answer
  double seconds = 0;
  int steps = 0;  // decode steps these seconds were spent on
};

// Prefills the passage, compresses, feeds the question and decodes greedily up to '>'.
Result<FactAnswer> ask_fact(const Model& model, const Plan& plan, const HiddenFact& fact,
                            int threads, const ProgressFn& progress = {});

}  // namespace kvkeep
