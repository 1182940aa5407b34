#include "eval/recall.h"

#include <algorithm>
#include <chrono>

#include "base/fail.h"
#include "eval/all_plans.h"
#include "eval/nll.h"
#include "eval/recall_row.h"

namespace kvkeep {
namespace {

using Clock = std::chrono::steady_clock;

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(' ');
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(' ') + 1 - begin);
}

// Share of the (layer, kv_head, answer token) that have the precision of important tokens.
void add_high(const TierMap& map, const std::vector<int>& positions, Tally& tally) {
  if (positions.empty()) return;
  int high = 0;
  for (int layer = 0; layer < map.layers; ++layer)
    for (int head = 0; head < map.kv_heads; ++head)
      for (const int position : positions) high += map.is_high(layer, head, position);
  tally.high += static_cast<double>(high) /
                (static_cast<double>(positions.size()) * map.layers * map.kv_heads);
  ++tally.located;
}

// The conversation after the context.
struct Chat {
  const TaskInput& in;
  const RecallTask& task;
  const RecallSample& sample;
  Session& session;
  RecallScore& score;
  std::vector<int32_t> context = {}, unfed = {};  // unfed: the token that closed the last answer
  std::string last = {};                          // what stands before the next question

  Result<void> read_context(const ProgressFn& progress) {
    last = sample.context;
    context = in.model.encode(sample.context, true);
    KVKEEP_TRY(session.feed(context, nullptr, progress));
    return in.options.query_aware ? Result<void>() : session.compress();
  }

  Result<void> ask(const RecallQuestion& question, Tally& tally) {
    const bool new_line = last.ends_with('\n') || question.ask.starts_with('\n');
    const auto tokens = in.model.encode(new_line ? question.ask : "\n" + question.ask, false);
    std::vector<int> positions;
    for (const auto& answer : question.answers) {
      const auto found = positions_of(in.model, context, sample.context, answer);
      positions.insert(positions.end(), found.begin(), found.end());
    }
    if (!in.options.query_aware) add_high(session.tier_map(), positions, tally);
    unfed.insert(unfed.end(), tokens.begin(), tokens.end());
    KVKEEP_TRY(session.feed(unfed));
    unfed.clear();
    KVKEEP_TRY(session.compress());
    if (in.options.query_aware) add_high(session.tier_map(), positions, tally);
    return {};
  }

  // What the model says before the task's end, or before the context is full: a wrong answer may
  // be longer than the room that the right one takes.
  Result<std::string> answer() {
    std::vector<int32_t> said;
    while (said.size() < static_cast<size_t>(task.answer_tokens)) {
      const int32_t token = session.sample();
      if (token == in.model.eos()) break;
      said.push_back(token);
      last = in.model.decode(said);
      if (const size_t stop = last.find(task.end); stop != std::string::npos) {
        unfed = {token};
        return last.substr(0, stop);
      }
      if (session.tokens() == session.context()) break;
      const auto start = Clock::now();
      KVKEEP_TRY(session.step(token));
      score.seconds += std::chrono::duration<double>(Clock::now() - start).count();
      ++score.steps;
    }
    return last = in.model.decode(said);
  }

  // -ln P of the whole right answer, said on a fork: the conversation does not hear it.
  Result<double> answer_nll(const RecallQuestion& question) const {
    const auto right = answer_tokens(in.model, question.ask, *task.lead + question.answers.at(0));
    auto fork = session.fork();
    if (!fork) return tl::unexpected(fork.error());
    double nll = 0;
    for (size_t i = 0; i < right.size(); ++i) {
      if (i > 0) KVKEEP_TRY(fork->step(right[i - 1]));
      nll += token_nll(fork->logits(), right[i]);
    }
    return nll;
  }

  Result<void> talk(const RecallQuestion& question, Tally& tally) {
    KVKEEP_TRY(ask(question, tally));
    if (task.lead) {
      const auto nll = answer_nll(question);
      if (!nll) return tl::unexpected(nll.error());
      tally.right[task.metrics.size()] += *nll;
    }
    const auto said = answer();
    if (!said) return tl::unexpected(said.error());
    for (size_t i = 0; i < task.metrics.size(); ++i) {
      const double points = task.metrics[i].score(trimmed(*said), question);
      tally.right[i] += points;
      if (i == 0 && !question.place.empty()) tally.placed.push_back({question.place, points});
    }
    ++tally.asked;
    return {};
  }
};

// The questions from `first` to before `last`, one after another on one cache.
Result<void> ask_on_one_cache(const TaskInput& in, const Plan& plan, const RecallTask& task,
                              const RecallSample& sample, size_t first, size_t last,
                              const ProgressFn& progress, RecallScore& score) {
  auto session = open_session(in, plan);
  if (!session) return tl::unexpected(session.error());
  Chat chat{in, task, sample, *session, score};
  KVKEEP_TRY(chat.read_context(progress));
  for (size_t i = first; i < last; ++i) {
    if (progress && !progress(1, 1)) return cancelled();
    KVKEEP_TRY(chat.talk(sample.questions[i], score.tallies.back()));
  }
  score.cache = session->report();
  return {};
}

Result<RecallScore> score_sample(const TaskInput& in, const Plan& plan, const RecallTask& task,
                                 const RecallSample& sample, const ProgressFn& progress) {
  RecallScore score;
  score.tallies.push_back({std::vector<double>(task.metrics.size() + task.lead.has_value()), 0,
                           sample.place, sample.group});
  const size_t all = sample.questions.size(), together = in.options.query_aware ? 1 : all;
  for (size_t first = 0; first < all; first += together) {
    const ProgressFn part = unit_of(progress, static_cast<double>(first), static_cast<double>(all),
                                    static_cast<double>(together));
    KVKEEP_TRY(ask_on_one_cache(in, plan, task, sample, first, first + together, part, score));
  }
  return score;
}

}  // namespace

double exact_answer(const std::string& said, const RecallQuestion& question) {
  return said == question.answers.at(0) ? 1 : 0;
}

std::vector<int32_t> answer_tokens(const Model& model, const std::string& ask,
                                   const std::string& answer) {
  const auto before = model.encode(ask, false);
  auto whole = model.encode(ask + answer, false);
  const auto [end, begin] = std::mismatch(before.begin(), before.end(), whole.begin(), whole.end());
  if (end != before.end()) return model.encode(answer, false);
  return {begin, whole.end()};
}

int recall_tokens(const Model& model, const RecallSample& sample, int answer_tokens) {
  int tokens = static_cast<int>(model.encode(sample.context, true).size());
  for (const auto& question : sample.questions)
    tokens += static_cast<int>(model.encode("\n" + question.ask, false).size()) + answer_tokens;
  return tokens;
}

std::vector<int> positions_of(const Model& model, const std::vector<int32_t>& tokens,
                              const std::string& text, const std::string& part) {
  std::vector<int> positions;
  size_t found = part.empty() ? std::string::npos : text.find(part);
  if (found == std::string::npos) return positions;
  const size_t bos = model.encode("", true).size();
  size_t begin = 0;  // of the token in the text
  for (size_t i = bos; i < tokens.size() && found != std::string::npos; ++i) {
    const size_t end = begin + model.decode({tokens[i]}).size();
    if (end > found && begin < found + part.size()) positions.push_back(static_cast<int>(i));
    while (found != std::string::npos && found + part.size() <= end)
      found = text.find(part, found + 1);
    begin = end;
  }
  return positions;
}

Result<TaskResult> run_recall(const TaskInput& in, const RecallTask& task) {
  if (in.options.samples < 1)
    return bad_input("task {} needs at least 1 sample, found {}", task.name, in.options.samples);
  RecallSample sample;
  const auto run = [&](size_t index, size_t plan,
                       const ProgressFn& progress) -> Result<RecallScore> {
    if (plan == 0) {
      auto made = task.make(in, static_cast<int>(index));
      if (!made) return tl::unexpected(made.error());
      sample = std::move(*made);
    }
    return score_sample(in, in.plans[plan], task, sample, progress);
  };
  const auto scores =
      score_all_plans<RecallScore>(in, static_cast<size_t>(in.options.samples), run);
  if (!scores) return tl::unexpected(scores.error());
  TaskResult result;
  result.interrupted = scores->interrupted;
  if (scores->complete > 0) result.rows = recall_rows(in, task, scores->totals);
  return result;
}

}  // namespace kvkeep
