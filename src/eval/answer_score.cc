#include "eval/answer_score.h"

#include <algorithm>
#include <map>
#include <sstream>

namespace kvkeep {
namespace {

using Words = std::vector<std::string>;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string lower(std::string_view text) {
  std::string low(text);
  std::transform(low.begin(), low.end(), low.begin(), [](char c) { return lower(c); });
  return low;
}

// ASCII punctuation goes; bytes of other scripts stay.
bool is_punctuation(char c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
         (c >= '{' && c <= '~');
}

Words words_of(std::string_view text) {
  std::string bare;
  for (const char c : text)
    if (!is_punctuation(c)) bare += lower(c);
  std::istringstream stream(bare);
  Words words;
  for (std::string word; stream >> word;)
    if (word != "a" && word != "an" && word != "the") words.push_back(word);
  return words;
}

double harmonic_mean(double common, size_t said, size_t answer) {
  return common > 0 ? 2 * common / static_cast<double>(said + answer) : 0;
}

size_t common_subsequence(const Words& a, const Words& b) {
  std::vector<size_t> row(b.size() + 1);  // longest of a's first words with b's first j
  for (const auto& word : a) {
    size_t diagonal = 0;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = word == b[j - 1] ? diagonal + 1 : std::max(above, row[j - 1]);
      diagonal = above;
    }
  }
  return row.back();
}

template <class Score>
double best(const std::string& said, const RecallQuestion& question, const Score& score) {
  double most = 0;
  for (const auto& answer : question.answers)
    most = std::max(most, static_cast<double>(score(said, answer)));
  return most;
}

}  // namespace

std::string normalised(std::string_view text) {
  std::string joined;
  for (const auto& word : words_of(text)) joined += (joined.empty() ? "" : " ") + word;
  return joined;
}

double f1(std::string_view said, std::string_view answer) {
  const Words found = words_of(said), right = words_of(answer);
  std::map<std::string, int> left;
  for (const auto& word : right) ++left[word];
  int common = 0;
  for (const auto& word : found) common += left[word]-- > 0;
  return harmonic_mean(common, found.size(), right.size());
}

double rouge_l(std::string_view said, std::string_view answer) {
  const Words found = words_of(said), right = words_of(answer);
  return harmonic_mean(static_cast<double>(common_subsequence(found, right)), found.size(),
                       right.size());
}

double best_match(const std::string& said, const RecallQuestion& question) {
  return best(said, question,
              [](const auto& a, const auto& b) { return normalised(a) == normalised(b); });
}

double best_f1(const std::string& said, const RecallQuestion& question) {
  return best(said, question, f1);
}

double best_rouge_l(const std::string& said, const RecallQuestion& question) {
  return best(said, question, rouge_l);
}

double contains_all(const std::string& said, const RecallQuestion& question) {
  const std::string text = lower(said);
  double found = 0;
  for (const auto& answer : question.answers)
    found += text.find(lower(answer)) != std::string::npos;
  return question.answers.empty() ? 0 : found / static_cast<double>(question.answers.size());
}

}  // namespace kvkeep
