#include "eval/bench/decode.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "eval/bench/contender.h"

namespace kvkeep::bench {
namespace {

struct Entry {
  std::unique_ptr<Contender> who;
  int depth;
  std::vector<double> seconds, stolen;  // a token, by round
};
using Entries = std::vector<Entry>;

// The first entry of the same engine and mode: entries are added from shallow to deep.
const Entry& base_of(const Entries& entries, const Entry& entry) {
  return *std::find_if(entries.begin(), entries.end(), [&](const Entry& other) {
    return other.who->engine() == entry.who->engine() && other.who->mode() == entry.who->mode();
  });
}

bool own(const Entry& entry) { return entry.who->engine() == "kvkeep"; }

// The fastest mode of the rival at a depth, or nullptr.
const Entry* best_rival(const Entries& entries, int depth) {
  const Entry* best = nullptr;
  for (const Entry& entry : entries)
    if (!own(entry) && entry.depth == depth &&
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
                 const ModelInfo& model) {
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
  const Entry* rival = best_rival(entries, entry.depth);
  if (own(entry) && rival)
    row.over_rival = ratio_of(added(*rival, base_of(entries, *rival)), added(entry, base));
  return row;
}

Result<void> add_own(const DecodeOptions& options, const Model& model, ThreadPool* pool, int room,
                     Entries* entries) {
  for (const Plan& plan : options.plans)
    for (int depth : options.depths) {
      auto made = make_own(model, plan, depth, room, options.made_up_rows, pool);
      if (!made) return tl::unexpected(made.error());
      entries->push_back({*std::move(made), depth, {}, {}});
    }
  return {};
}

Result<void> add_rival(const DecodeOptions& options, const Model& model, Rival* rival, int room,
                       DecodeResult* result, Entries* entries) {
  const auto hello = rival->ask({{"do", "hello"}});
  if (!hello) return tl::unexpected(hello.error());
  const std::string engine = hello->value("engine", "rival");
  result->rival_version = hello->value("version", "unknown");
  for (const Json& mode : hello->value("modes", Json::array()))
    for (int depth : options.depths) {
      auto made =
          make_rival(rival, engine, mode.get<std::string>(), model, depth, room, options.threads);
      if (!made) return tl::unexpected(made.error());
      entries->push_back({*std::move(made), depth, {}, {}});
    }
  return {};
}

// All rounds; false if it was stopped.
Result<bool> run_rounds(const DecodeOptions& options, CoreThief* thief, Entries* entries,
                        const std::function<bool()>& tick) {
  for (int round = -1; round < options.rounds; ++round)  // the first one warms up
    for (Entry& entry : *entries)
      for (bool steal : {false, true}) {
        if (steal && !thief) continue;
        if (thief) thief->set(steal);
        const auto seconds = entry.who->decode(options.steps);
        if (thief) thief->set(false);
        if (!seconds) return tl::unexpected(seconds.error());
        if (!tick()) return false;
        if (round >= 0) (steal ? entry.stolen : entry.seconds).push_back(*seconds / options.steps);
      }
  return true;
}

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
  std::optional<Rival> rival;
  if (!options.rival.empty()) {
    auto started = Rival::start(options.rival);
    if (!started) return tl::unexpected(started.error());
    rival.emplace(*std::move(started));
  }
  ThreadPool pool(options.threads);
  DecodeResult result;
  Entries entries;
  const int turns = options.steal ? 2 : 1;
  const int room = (options.rounds + 1) * options.steps * turns;
  if (auto done = add_own(options, model, &pool, room, &entries); !done)
    return tl::unexpected(done.error());
  if (rival)
    if (auto done = add_rival(options, model, &*rival, room, &result, &entries); !done)
      return tl::unexpected(done.error());
  const double total = static_cast<double>(entries.size()) * (options.rounds + 1) * turns;
  double done = 0;
  const auto all = run_rounds(options, thief ? &*thief : nullptr, &entries,
                              [&] { return !progress || progress(++done, total); });
  if (!all) return tl::unexpected(all.error());
  result.interrupted = !*all;
  size_t rounds = SIZE_MAX;  // whole rounds of everybody
  for (const Entry& entry : entries)
    rounds = std::min({rounds, entry.seconds.size(), thief ? entry.stolen.size() : SIZE_MAX});
  if (rounds == 0) return result;
  for (Entry& entry : entries) {
    entry.seconds.resize(rounds);
    entry.stolen.resize(thief ? rounds : 0);
  }
  for (const Entry& entry : entries)
    result.rows.push_back(row_of(entries, entry, options, model.info()));
  if (const Entry* best = best_rival(entries, options.depths.back()))
    result.best_rival_mode = best->who->mode();
  return result;
}

}  // namespace kvkeep::bench
