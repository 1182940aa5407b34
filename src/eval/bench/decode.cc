#include "eval/bench/decode.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "eval/bench/contender.h"

namespace kvkeep::bench {
namespace {

struct Entry {
  std::unique_ptr<Contender> who;
  int depth, steps;                     // tokens of a turn
  std::vector<double> seconds, stolen;  // a token, by round
};
using Entries = std::vector<Entry>;

// The first entry of the same engine and mode: entries are added from shallow to deep.
const Entry& base_of(const Entries& entries, const Entry& entry) {
  return *std::find_if(entries.begin(), entries.end(), [&](const Entry& other) {
    return other.who->engine() == entry.who->engine() && other.who->mode() == entry.who->mode();
  });
}

// The fastest mode of an engine at a depth, or nullptr.
const Entry* best_of(const Entries& entries, const std::string& engine, int depth) {
  const Entry* best = nullptr;
  for (const Entry& entry : entries)
    if (entry.who->engine() == engine && entry.depth == depth &&
        (!best || spread_of(entry.seconds).median < spread_of(best->seconds).median))
      best = &entry;
  return best;
}

// What the cache adds to a token, by round.
std::vector<double> added(const Entry& entry, const Entry& base) {
  std::vector<double> seconds;
  for (size_t i = 0; i < entry.seconds.size(); ++i)
    seconds.push_back(entry.seconds[i] - base.seconds[i]);
  return seconds;
}

std::vector<double> times(std::vector<double> values, double factor) {
  for (double& value : values) value *= factor;
  return values;
}

DecodeRow row_of(const Entries& entries, const Entry& entry, const DecodeOptions& options,
                 const std::vector<RivalInfo>& rivals, const ModelInfo& model) {
  DecodeRow row;
  row.engine = entry.who->engine();
  row.mode = entry.who->mode();
  row.depth = entry.depth;
  row.last_depth = entry.who->tokens();
  row.threads = options.threads;
  row.cache_bytes = entry.who->cache_bytes();
  row.ms_per_token = spread_of(times(entry.seconds, 1e3));
  row.tokens_per_s = ratio_of(std::vector<double>(entry.seconds.size(), 1.0), entry.seconds);
  if (!entry.stolen.empty()) row.slow_down = ratio_of(entry.stolen, entry.seconds);
  const Entry& base = base_of(entries, entry);
  if (base.depth == entry.depth) return row;
  const double kv_tokens =
      static_cast<double>(entry.depth - base.depth) * model.layers * model.kv_heads;
  row.ns_per_kv_token = spread_of(times(added(entry, base), 1e9 / kv_tokens));
  for (const RivalInfo& rival : rivals) {
    const Entry* best = best_of(entries, rival.engine, entry.depth);
    if (best && row.engine == kOwnEngine)
      row.over_rivals.push_back(
          {rival.engine, best->who->mode(),
           ratio_of(added(*best, base_of(entries, *best)), added(entry, base))});
  }
  return row;
}

struct Started {
  RivalInfo info;
  std::vector<std::string> modes;
  Rival process;
};

Result<Started> start_rival(const std::string& command) {
  auto process = Rival::start(command);
  if (!process) return tl::unexpected(process.error());
  const auto hello = process->ask({{"do", "hello"}});
  if (!hello) return tl::unexpected(hello.error());
  const auto text = [&](const char* key) { return hello->value(key, std::string("unknown")); };
  return Started{{command, text("engine"), text("version"), text("system"), {}},
                 hello->value("modes", std::vector<std::string>()),
                 *std::move(process)};
}

class DecodeBench {
 public:
  DecodeBench(const DecodeOptions& options, const Model& model, std::vector<Started> rivals,
              std::optional<CoreThief> thief, const ProgressFn& progress)
      : options_(options),
        model_(model),
        rivals_(std::move(rivals)),
        thief_(std::move(thief)),
        progress_(progress),
        pool_(options.threads) {
    for (const Started& rival : rivals_) result_.rivals.push_back(rival.info);
  }

  Result<DecodeResult> run() {
    std::vector<int> deep(options_.depths.begin() + 1, options_.depths.end());
    if (deep.empty()) deep.push_back(options_.depths[0]);
    size_t contenders = options_.plans.size();
    for (const Started& rival : rivals_) contenders += rival.modes.size();
    total_ = static_cast<double>(2 * contenders * deep.size()) * (options_.rounds + 1) * turns();
    for (int depth : deep) {
      Entries entries;
      KVKEEP_TRY(open(depth, &entries));
      const auto all = run_rounds(&entries);
      if (!all) return tl::unexpected(all.error());
      result_.interrupted = !*all;
      keep(&entries, depth);
      if (result_.interrupted) break;
    }
    for (auto& rows : rows_) result_.rows.insert(result_.rows.end(), rows.begin(), rows.end());
    return std::move(result_);
  }

 private:
  int turns() const { return thief_ ? 2 : 1; }
  // Tokens that a contender decodes in all its turns.
  int room(int steps) const { return (options_.rounds + 1) * steps * turns(); }

  // Everybody at the shallowest depth and at this one, side by side.
  Result<void> open(int depth, Entries* entries) {
    std::vector<int> depths = {options_.depths[0]};
    if (depth != depths[0]) depths.push_back(depth);
    for (const Plan& plan : options_.plans)
      for (int d : depths) {
        auto made = make_own(
            model_, plan, {options_.batch, d, room(options_.steps), options_.made_up_rows}, &pool_);
        if (!made) return tl::unexpected(made.error());
        entries->push_back({*std::move(made), d, options_.steps, {}, {}});
      }
    for (Started& rival : rivals_)
      for (const std::string& mode : rival.modes)
        for (int d : depths) {
          auto made = make_rival(&rival.process, rival.info.engine, mode, model_, d,
                                 room(options_.rival_steps), options_.threads);
          if (!made) return tl::unexpected(made.error());
          entries->push_back({*std::move(made), d, options_.rival_steps, {}, {}});
        }
    return {};
  }

  // All rounds; false if it was stopped.
  Result<bool> run_rounds(Entries* entries) {
    for (int round = -1; round < options_.rounds; ++round)  // the first one warms up
      for (Entry& entry : *entries)
        for (bool steal : {false, true}) {
          if (steal && !thief_) continue;
          if (thief_) thief_->set(steal);
          const auto seconds = entry.who->decode(entry.steps);
          if (thief_) thief_->set(false);
          if (!seconds) return tl::unexpected(seconds.error());
          if (progress_ && !progress_(++done_, total_)) return false;
          if (round >= 0) (steal ? entry.stolen : entry.seconds).push_back(*seconds / entry.steps);
        }
    return true;
  }

  // Rows of whole rounds; those of the shallowest depth from the first group alone.
  void keep(Entries* entries, int depth) {
    size_t rounds = SIZE_MAX;
    for (const Entry& entry : *entries)
      rounds = std::min({rounds, entry.seconds.size(), thief_ ? entry.stolen.size() : SIZE_MAX});
    if (rounds == 0) return;
    for (Entry& entry : *entries) {
      entry.seconds.resize(rounds);
      entry.stolen.resize(thief_ ? rounds : 0);
    }
    const bool first = rows_.empty();
    const size_t of_contender = depth == options_.depths[0] ? 1 : 2;
    rows_.resize(entries->size() / of_contender);
    for (size_t i = 0; i < entries->size(); ++i)
      if (const Entry& entry = (*entries)[i]; first || entry.depth == depth)
        rows_[i / of_contender].push_back(
            row_of(*entries, entry, options_, result_.rivals, model_.info()));
    for (RivalInfo& rival : result_.rivals)
      if (const Entry* best = best_of(*entries, rival.engine, depth))
        rival.best_mode = best->who->mode();
  }

  const DecodeOptions& options_;
  const Model& model_;
  std::vector<Started> rivals_;
  std::optional<CoreThief> thief_;
  const ProgressFn& progress_;
  ThreadPool pool_;
  DecodeResult result_;
  std::vector<std::vector<DecodeRow>> rows_;  // by contender
  double total_ = 0, done_ = 0;
};

}  // namespace

Result<DecodeResult> bench_decode(const DecodeOptions& options, const Model& model,
                                  const ProgressFn& progress) {
  // Before the pool has threads: these start processes.
  std::optional<CoreThief> thief;
  if (options.steal) {
    auto started = CoreThief::start();
    if (!started) return tl::unexpected(started.error());
    thief.emplace(*std::move(started));
  }
  std::vector<Started> rivals;
  for (const std::string& command : options.rivals) {
    auto started = start_rival(command);
    if (!started) return tl::unexpected(started.error());
    rivals.push_back(*std::move(started));
  }
  return DecodeBench(options, model, std::move(rivals), std::move(thief), progress).run();
}

}  // namespace kvkeep::bench
