#include "eval/hidden_fact.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>

#include "base/fail.h"
#include "base/rng.h"
#include "kvkeep/session.h"

namespace kvkeep {
namespace {

constexpr int kAnswerTokens = 8;
constexpr int kMargin = 16;  // sentences together may have fewer tokens than one by one

// Sentences from text[*offset] on that are worth at least `tokens` tokens; none when the text ends
// before.
std::vector<std::string> take_sentences(const Model& model, std::string_view text, size_t* offset,
                                        int tokens) {
  std::vector<std::string> sentences;
  while (tokens > 0 && *offset < text.size()) {
    const size_t stop = text.find(". ", *offset);
    if (stop == std::string_view::npos) break;
    sentences.emplace_back(text.substr(*offset, stop + 1 - *offset));
    *offset = stop + 2;
    tokens -= static_cast<int>(model.encode(" " + sentences.back(), false).size());
  }
  if (tokens > 0) sentences.clear();
  return sentences;
}

void append(std::vector<int32_t>& to, const std::vector<int32_t>& tokens) {
  to.insert(to.end(), tokens.begin(), tokens.end());
}

Result<void> decode_answer(const Model& model, Session& session, FactAnswer& answer) {
  for (int i = 0; i < kAnswerTokens; ++i) {
    const int32_t token = session.sample();
    const std::string text = model.decode({token});
    const size_t end = text.find('>');
    answer.text += text.substr(0, end);
    if (end != std::string::npos || token == model.eos()) break;
    const auto start = std::chrono::steady_clock::now();
    KVKEEP_TRY(session.step(token));
    answer.seconds +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    ++answer.steps;
  }
  return {};
}

}  // namespace

std::string fact_text(const std::string& key) {
  return fmt::format(" The pass key is <{0}>. Remember it. <{0}> is the pass key.", key);
}

Result<HiddenFact> hide_fact(const Model& model, std::string_view text, size_t* offset,
                             double depth, int tokens, uint64_t seed) {
  HiddenFact hidden;
  Rng rng(seed);
  for (int i = 0; i < 5; ++i) hidden.answer += static_cast<char>('0' + rng.below(10));
  hidden.fact = fact_text(hidden.answer);
  hidden.question = kFactQuestion;
  const auto head = model.encode(kFactHead, true), needle = model.encode(hidden.fact, false);
  const int room = tokens - static_cast<int>(head.size() + needle.size()) + kMargin;
  auto sentences = take_sentences(model, text, offset, room);
  if (sentences.empty()) {
    *offset = 0;
    sentences = take_sentences(model, text, offset, room);
  }
  if (sentences.empty()) return bad_input("the text is shorter than a passage of {} tokens", room);
  const auto place = static_cast<size_t>(std::round(depth * static_cast<double>(sentences.size())));
  std::string before = kFactHead, after;
  for (size_t i = 0; i < sentences.size(); ++i)
    if (i < place)
      before += (i ? " " : "") + sentences[i];
    else
      after += " " + sentences[i];
  append(hidden.passage, model.encode(before, true));
  append(hidden.passage, needle);
  append(hidden.passage, model.encode(after, false));
  hidden.passage.resize(static_cast<size_t>(tokens));  // the last sentence may be cut
  hidden.question_tokens = model.encode(kFactQuestion, false);
  return hidden;
}

Result<FactAnswer> ask_fact(const Model& model, const Plan& plan, const HiddenFact& fact,
                            int threads, const ProgressFn& progress) {
  SessionOptions options;
  options.threads = threads;
  auto session = Session::create(model, plan, options);
  if (!session) return tl::unexpected(session.error());
  KVKEEP_TRY(session->prefill(fact.passage, progress));
  KVKEEP_TRY(session->feed(fact.question_tokens));
  KVKEEP_TRY(session->compress());
  FactAnswer answer;
  KVKEEP_TRY(decode_answer(model, *session, answer));
  answer.right = answer.text == fact.answer;
  answer.cache = session->report();
  return answer;
}

}  // namespace kvkeep
