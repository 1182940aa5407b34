// How good an answer in natural language is, as SQuAD, LongBench and RULER score it, by our own
// code. All of them compare after normalisation: lower case, without punctuation, without the
// articles a, an, the, single blanks between words. All are from 0 to 1.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "eval/recall.h"

namespace kvkeep {

std::string normalised(std::string_view text);

// 2 p r / (p + r) over the bag of words (Rajpurkar et al. 2016).
double f1(std::string_view said, std::string_view answer);
// The same over the longest common subsequence of words (Lin 2004).
double rouge_l(std::string_view said, std::string_view answer);

// Of a question's answers the best one counts.
double best_match(const std::string& said, const RecallQuestion& question);  // 1 if equal
double best_f1(const std::string& said, const RecallQuestion& question);
double best_rouge_l(const std::string& said, const RecallQuestion& question);
// Share of the answers that occur in what was said, letters of either case (RULER's string match).
double contains_all(const std::string& said, const RecallQuestion& question);

}  // namespace kvkeep
