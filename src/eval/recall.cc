#include "eval/recall.h"

#include <algorithm>
#include <chrono>

#include "base/rng.h"
#include "eval/all_plans.h"

namespace kvkeep {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kAnswerTokens = 8;

struct Score {
  std::vector<Tally> tallies;
  double seconds = 0;  // of decode steps
  int steps = 0;
  CacheReport cache;

  void add(const Score& other) {
    tallies.insert(tallies.end(), other.tallies.begin(), other.tallies.end());
    seconds += other.seconds;
    steps += other.steps;
    cache = other.cache;
  }
};

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(' ');
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(' ') + 1 - begin);
}

// The conversation after the context.
struct Chat {
  const Model& model;
  Session& session;
  Score& score;
  std::vector<int32_t> unfed;  // the token that closed the last answer
  std::string last;            // what stands before the next question

  Result<void> ask(const std::string& question) {
    const bool new_line = last.ends_with('\n') || question.starts_with('\n');
    const auto tokens = model.encode(new_line ? question : "\n" + question, false);
    unfed.insert(unfed.end(), tokens.begin(), tokens.end());
    KVKEEP_TRY(session.feed(unfed));
    unfed.clear();
    return session.compress();
  }

  // What the model says before `end`.
  Result<std::string> answer(char end) {
    std::vector<int32_t> said;
    while (said.size() < kAnswerTokens) {
      const int32_t token = session.sample();
      if (token == model.eos()) break;
      said.push_back(token);
      last = model.decode(said);
      if (const size_t stop = last.find(end); stop != std::string::npos) {
        unfed = {token};
        return last.substr(0, stop);
      }
      const auto start = Clock::now();
      KVKEEP_TRY(session.step(token));
      score.seconds += std::chrono::duration<double>(Clock::now() - start).count();
      ++score.steps;
    }
    return last = model.decode(said);
  }
};

Result<Score> score_sample(const TaskInput& in, const Plan& plan, const RecallSample& sample,
                           char end, const ProgressFn& progress) {
  auto session = open_session(in, plan);
  if (!session) return tl::unexpected(session.error());
  KVKEEP_TRY(session->prefill(in.model.encode(sample.context, true), progress));
  Score score;
  Tally tally{0, 0, sample.group};
  Chat chat{in.model, *session, score, {}, sample.context};
  for (const auto& question : sample.questions) {
    if (progress && !progress(1, 1)) return cancelled();
    KVKEEP_TRY(chat.ask(question.ask));
    const auto answer = chat.answer(end);
    if (!answer) return tl::unexpected(answer.error());
    tally.right += trimmed(*answer) == question.answer;
    ++tally.asked;
  }
  score.tallies.push_back(std::move(tally));
  score.cache = session->report();
  return score;
}

// The groups' accuracies, in the order of their first samples.
std::vector<Metric> group_metrics(std::span<const Tally> tallies) {
  std::vector<Metric> metrics;
  for (const auto& first : tallies) {
    const auto known = [&](const Metric& metric) { return metric.name == first.group; };
    if (first.group.empty() || std::any_of(metrics.begin(), metrics.end(), known)) continue;
    std::vector<Tally> group;
    std::copy_if(tallies.begin(), tallies.end(), std::back_inserter(group),
                 [&](const Tally& tally) { return tally.group == first.group; });
    metrics.push_back({first.group, accuracy(group)});
  }
  return metrics;
}

EvalRow make_row(const TaskInput& in, const RecallTask& task, const Score& total) {
  int asked = 0;
  for (const auto& tally : total.tallies) asked += tally.asked;
  EvalRow row;
  row.task = task.name;
  row.metrics = {{"accuracy", accuracy(total.tallies)}, {"n", static_cast<double>(asked), true}};
  row.metrics[0].interval = accuracy_interval(total.tallies, in.options.seed);
  for (auto& metric : group_metrics(total.tallies)) row.metrics.push_back(std::move(metric));
  row.cache = total.cache;
  row.protocol = in.options;
  row.protocol.bos = !in.model.encode("", true).empty();
  row.samples = static_cast<int>(total.tallies.size());
  row.tokens_per_second = total.seconds > 0 ? total.steps / total.seconds : 0;
  return row;
}

}  // namespace

int recall_tokens(const Model& model, const RecallSample& sample) {
  size_t tokens = model.encode(sample.context, true).size();
  for (const auto& question : sample.questions)
    tokens += model.encode("\n" + question.ask, false).size() + kAnswerTokens;
  return static_cast<int>(tokens);
}

double accuracy(std::span<const Tally> tallies) {
  int right = 0, asked = 0;
  for (const auto& tally : tallies) right += tally.right, asked += tally.asked;
  return asked > 0 ? static_cast<double>(right) / asked : 0;
}

std::pair<double, double> accuracy_interval(std::span<const Tally> tallies, uint64_t seed) {
  constexpr size_t kDraws = 2000;
  Rng rng(seed);
  std::vector<double> means;
  std::vector<Tally> drawn(tallies.size());
  for (size_t i = 0; i < kDraws; ++i) {
    for (auto& tally : drawn) tally = tallies[rng.below(tallies.size())];
    means.push_back(accuracy(drawn));
  }
  std::sort(means.begin(), means.end());
  return {means[kDraws / 40], means[kDraws - 1 - kDraws / 40]};
}

Result<TaskResult> run_recall(const TaskInput& in, const RecallTask& task) {
  if (in.options.samples < 1)
    return bad_input("task {} needs at least 1 sample, found {}", task.name, in.options.samples);
  RecallSample sample;
  const auto run = [&](size_t index, size_t plan, const ProgressFn& progress) -> Result<Score> {
    if (plan == 0) {
      auto made = task.make(in, static_cast<int>(index));
      if (!made) return tl::unexpected(made.error());
      sample = std::move(*made);
    }
    return score_sample(in, in.plans[plan], sample, task.end, progress);
  };
  const auto scores = score_all_plans<Score>(in, static_cast<size_t>(in.options.samples), run);
  if (!scores) return tl::unexpected(scores.error());
  TaskResult result;
  result.interrupted = scores->interrupted;
  if (scores->complete > 0)
    for (const Score& score : scores->totals) result.rows.push_back(make_row(in, task, score));
  return result;
}

}  // namespace kvkeep
