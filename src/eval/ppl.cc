// Perplexity on a compressed cache.
//
// The text is cut into windows of `context` tokens. Of each window the first quarter is prefilled
// exactly, then the cache is compressed, and the rest is fed in steps of `step` tokens with a
// compression after each: a token sees compressed history and exact neighbours. The rest is scored.
#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/fail.h"
#include "eval/nll.h"
#include "eval/part_of.h"
#include "eval/task.h"
#include "kvkeep/session.h"

namespace kvkeep {
namespace {

using Tokens = std::span<const int32_t>;

struct Score {
  double nll = 0, seconds = 0;
  int64_t tokens = 0;
  CacheReport cache;

  void add(const Score& other) {
    nll += other.nll;
    seconds += other.seconds;
    tokens += other.tokens;
    cache = other.cache;
  }
};

// Windows one after another, each with its BOS if asked for.
Result<std::vector<std::vector<int32_t>>> cut_windows(const TaskInput& in) {
  const auto& o = in.options;
  if (o.context < 8 || o.step < 1 || o.limit < o.context)
    return bad_input(
        "task ppl needs at least 8 tokens a window, found {}; steps of at least 1, "
        "found {}; and a limit of at least one window, found {}",
        o.context, o.step, o.limit);
  std::vector<int32_t> bos;
  if (o.bos) bos = in.model.encode("", true);
  const auto room = static_cast<size_t>(o.context) - bos.size();
  const auto tokens = first_tokens(in.model, in.text, o.limit / o.context * o.context);
  if (tokens.size() < room)
    return bad_input("the text has {} tokens; task ppl needs at least one window of {} (--ctx)",
                     tokens.size(), room);
  std::vector<std::vector<int32_t>> windows;
  for (auto begin = tokens.begin(); tokens.end() - begin >= static_cast<ptrdiff_t>(room);
       begin += static_cast<ptrdiff_t>(room)) {
    windows.push_back(bos);
    windows.back().insert(windows.back().end(), begin, begin + static_cast<ptrdiff_t>(room));
  }
  windows.resize(std::min(windows.size(), static_cast<size_t>(o.limit / o.context)));
  return windows;
}

// Feeds one step and adds the surprise of its tokens: the first is predicted by the logits that
// were there before, each further one by its predecessor.
Result<void> score_step(Session& session, Tokens tokens, std::vector<float>& logits, Score& score) {
  score.nll += token_nll(session.logits(), tokens[0]);
  const auto start = std::chrono::steady_clock::now();
  KVKEEP_TRY(session.feed(tokens, &logits));
  KVKEEP_TRY(session.compress());
  score.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const size_t vocab = logits.size() / tokens.size();
  for (size_t i = 1; i < tokens.size(); ++i)
    score.nll += token_nll({logits.data() + (i - 1) * vocab, vocab}, tokens[i]);
  score.tokens += static_cast<int64_t>(tokens.size());
  return {};
}

Result<Session> make_session(const TaskInput& in, const Plan& plan) {
  SessionOptions options;
  options.threads = in.options.threads;
  options.context = in.options.context;
  return Session::create(in.model, plan, options);
}

Result<Score> score_window(const TaskInput& in, const Plan& plan, Tokens window,
                           const ProgressFn& progress) {
  auto session = make_session(in, plan);
  if (!session) return tl::unexpected(session.error());
  session->seed(in.options.seed);
  const size_t prefix = window.size() / 4;
  KVKEEP_TRY(session->prefill(window.first(prefix), progress));
  Score score;
  std::vector<float> logits;
  for (size_t done = prefix; done < window.size();) {
    if (progress && !progress(static_cast<double>(done), 0)) return cancelled();
    const size_t n = std::min(static_cast<size_t>(in.options.step), window.size() - done);
    KVKEEP_TRY(score_step(*session, window.subspan(done, n), logits, score));
    done += n;
  }
  score.cache = session->report();
  return score;
}

EvalRow make_row(const TaskInput& in, const Score& total, int windows) {
  const auto tokens = static_cast<double>(total.tokens);
  const double nll = total.nll / tokens;
  EvalRow row;
  row.task = "ppl";
  row.metrics = {{"ppl", std::exp(nll)}, {"nll", nll}, {"tokens", tokens, true}};
  row.cache = total.cache;
  row.protocol = in.options;
  row.windows = windows;
  row.tokens_per_second = total.seconds > 0 ? tokens / total.seconds : 0;
  return row;
}

}  // namespace

Result<TaskResult> run_ppl(const TaskInput& in) {
  const auto windows = cut_windows(in);
  if (!windows) return tl::unexpected(windows.error());
  for (const Plan& plan : in.plans) KVKEEP_TRY(make_session(in, plan));

  const size_t runs = windows->size() * in.plans.size();
  const double total = static_cast<double>(runs) * in.options.context;
  std::vector<Score> totals(in.plans.size());
  TaskResult result;
  int complete = 0;
  for (size_t w = 0; w < windows->size() && !result.interrupted; ++w) {
    std::vector<Score> scores;
    for (size_t p = 0; p < in.plans.size() && !result.interrupted; ++p) {
      const double base = static_cast<double>(w * in.plans.size() + p) * in.options.context;
      auto score = score_window(in, in.plans[p], (*windows)[w], part_of(in.progress, base, total));
      if (score)
        scores.push_back(std::move(*score));
      else if (score.error().code == ErrorCode::cancelled)
        result.interrupted = true;
      else
        return tl::unexpected(score.error());
    }
    if (result.interrupted) break;
    for (size_t p = 0; p < scores.size(); ++p) totals[p].add(scores[p]);
    ++complete;
  }
  if (complete > 0)
    for (const Score& score : totals) result.rows.push_back(make_row(in, score, complete));
  return result;
}

}  // namespace kvkeep
