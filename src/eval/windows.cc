#include "eval/windows.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "eval/all_plans.h"

namespace kvkeep {
namespace {

// Feeds one step: its first token is predicted by the logits that were there before, each further
// one by its predecessor.
Result<void> read_step(Session& session, std::span<const int32_t> tokens,
                       std::vector<float>& logits, const SeeToken& see, Reading& reading) {
  see(session.logits(), tokens[0]);
  const auto start = std::chrono::steady_clock::now();
  KVKEEP_TRY(session.feed(tokens, &logits));
  KVKEEP_TRY(session.compress());
  reading.seconds +=
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const size_t vocab = logits.size() / tokens.size();
  for (size_t i = 1; i < tokens.size(); ++i)
    see({logits.data() + (i - 1) * vocab, vocab}, tokens[i]);
  reading.tokens += static_cast<int64_t>(tokens.size());
  return {};
}

}  // namespace

void Reading::add(const Reading& other) {
  seconds += other.seconds;
  tokens += other.tokens;
  cache = other.cache;
}

Result<Windows> cut_windows(const TaskInput& in, const std::string& task) {
  const auto& o = in.options;
  if (o.context < 8)
    return bad_input("task {} needs windows of at least 8 tokens, found {} (--ctx)", task,
                     o.context);
  if (o.step < 1) return bad_input("task {} needs steps of at least 1, found {}", task, o.step);
  if (o.limit < o.context)
    return bad_input("task {} needs a --limit of at least one window of {} tokens, found {}", task,
                     o.context, o.limit);
  std::vector<int32_t> bos;
  if (o.bos) bos = in.model.encode("", true);
  const auto room = static_cast<size_t>(o.context) - bos.size();
  const auto tokens = first_tokens(in.model, in.text, o.limit / o.context * o.context);
  if (tokens.size() < room)
    return bad_input("the text has {} tokens; task {} needs at least one window of {} (--ctx)",
                     tokens.size(), task, room);
  Windows windows;
  for (auto begin = tokens.begin(); tokens.end() - begin >= static_cast<ptrdiff_t>(room);
       begin += static_cast<ptrdiff_t>(room)) {
    windows.push_back(bos);
    windows.back().insert(windows.back().end(), begin, begin + static_cast<ptrdiff_t>(room));
  }
  windows.resize(std::min(windows.size(), static_cast<size_t>(o.limit / o.context)));
  return windows;
}

Result<Reading> read_window(const TaskInput& in, const Plan& plan, std::span<const int32_t> window,
                            const SeeToken& see, const ProgressFn& progress) {
  auto session = open_session(in, plan);
  if (!session) return tl::unexpected(session.error());
  const auto all = static_cast<double>(window.size());
  const size_t prefix = window.size() / 4;
  KVKEEP_TRY(session->prefill(window.first(prefix), part_of(progress, 0, all)));
  Reading reading;
  std::vector<float> logits;
  for (size_t done = prefix; done < window.size();) {
    if (progress && !progress(static_cast<double>(done), all)) return cancelled();
    const size_t n = std::min(static_cast<size_t>(in.options.step), window.size() - done);
    KVKEEP_TRY(read_step(*session, window.subspan(done, n), logits, see, reading));
    done += n;
  }
  reading.cache = session->report();
  return reading;
}

std::vector<double> stretch_means(std::span<const float> of_tokens) {
  constexpr size_t kStretch = 256;
  std::vector<double> means;
  while (!of_tokens.empty()) {
    const size_t n = of_tokens.size() < 2 * kStretch ? of_tokens.size() : kStretch;
    means.push_back(std::reduce(of_tokens.begin(), of_tokens.begin() + n, 0.0) /
                    static_cast<double>(n));
    of_tokens = of_tokens.subspan(n);
  }
  return means;
}

EvalRow text_row(const TaskInput& in, const std::string& task, const Reading& reading, int windows,
                 std::vector<Metric> metrics) {
  EvalRow row;
  row.task = task;
  row.metrics = std::move(metrics);
  row.cache = reading.cache;
  row.protocol = in.options;
  row.windows = windows;
  if (reading.seconds > 0)
    row.tokens_per_second = static_cast<double>(reading.tokens) / reading.seconds;
  return row;
}

}  // namespace kvkeep
