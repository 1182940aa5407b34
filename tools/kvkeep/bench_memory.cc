// kvkeep bench memory: reads by working set, and blocks of the pool in several orders.
#include <nlohmann/json.hpp>

#include "bench.h"
#include "eval/bench/memory.h"
#include "progress.h"

namespace kvkeep {
namespace {

struct Options {
  std::string threads = default_threads();
  double megabytes = 0;
  int rounds = 7;
  bool json = false;
};

Result<int> run(const Options& options) {
  const auto threads = parse_counts(options.threads, "--threads", 1, 1024);
  if (!threads) return tl::unexpected(threads.error());
  bench::MemoryOptions settings;
  settings.threads = *threads;
  settings.rounds = options.rounds;
  settings.pool_bytes = 4 * bench::last_level_cache_bytes();
  if (options.megabytes > 0) {
    settings.pool_bytes = static_cast<size_t>(options.megabytes * 1e6);
    settings.most_bytes = settings.pool_bytes;
  }
  auto json = bench_head("memory", threads->back());
  if (!json) return tl::unexpected(json.error());
  Progress progress("bench memory");
  const auto result = bench::bench_memory(settings, progress.fn());
  if (!result) return tl::unexpected(result.error());
  const auto bars = bench::memory_bars(result->blocks);
  (*json)["rounds"] = settings.rounds;
  (*json)["results"] = bench::memory_json(*result);
  (*json)["bars"] = bench::bars_json(bars);
  return finish_bench(options.json, *json, bench::memory_text(*result) + bench::bars_text(bars),
                      result->interrupted);
}

}  // namespace

void add_bench_memory(CLI::App& bench, Action* action) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = bench.add_subcommand("memory", "what this machine reads, and random blocks");
  command->add_option("-t,--threads", options->threads, "threads, a list (default: 1,2)");
  command
      ->add_option("--mb", options->megabytes,
                   "MB of the largest read and of each pool (default: 1024, 4 last-level caches)")
      ->check(number_between(0.1, 1e5));
  command->add_option("--rounds", options->rounds, "measured rounds (default: 7)")
      ->check(integer_between(1, 10000));
  add_json(*command, &options->json);
  command->callback([=] { *action = [options] { return run(*options); }; });
}

}  // namespace kvkeep
