// kvkeep bench attention: decode reads against a read loop and the f16 kernel, layout by layout.
#include <climits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/fail.h"
#include "bench.h"
#include "eval/bench/attention.h"
#include "eval/bench/bars.h"
#include "progress.h"

namespace kvkeep {
namespace {

constexpr int kMostContext = 1 << 20, kMostHeadDim = 512, kMostGqa = 16, kMostThreads = 1024;

struct Options {
  std::string threads = default_threads(), contexts = "16K", gqa = "4", head_dims = "128", layouts,
              attend, isas;
  int kv_heads = 8, rounds = 7;
  double megabytes = 0;
  bool json = false;
};

Result<std::vector<bench::LayoutPair>> parse_layouts(const std::string& text) {
  std::vector<bench::LayoutPair> pairs;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) {
    const auto pair = bench::parse_layout_pair(part);
    if (!pair) return tl::unexpected(pair.error());
    pairs.push_back(*pair);
  }
  return pairs;
}

Result<bench::AttentionOptions> settings_of(const Options& options) {
  bench::AttentionOptions settings;
  settings.layouts = bench::default_layouts();
  if (!options.layouts.empty()) {
    const auto layouts = parse_layouts(options.layouts);
    if (!layouts) return tl::unexpected(layouts.error());
    settings.layouts = *layouts;
  }
  const struct {
    const char* name;
    const std::string& text;
    int most;
    std::vector<int>* counts;
  } lists[] = {{"--threads", options.threads, kMostThreads, &settings.threads},
               {"--context", options.contexts, kMostContext, &settings.contexts},
               {"--gqa", options.gqa, kMostGqa, &settings.gqa_ratios},
               {"--head-dim", options.head_dims, kMostHeadDim, &settings.head_dims}};
  for (const auto& list : lists) {
    const auto counts = parse_counts(list.text, list.name, 1, list.most);
    if (!counts) return tl::unexpected(counts.error());
    *list.counts = *counts;
  }
  for (int head_dim : settings.head_dims)
    if (head_dim % 8 != 0)
      return bad_input("--head-dim {}: allowed are multiples of 8 up to {}", head_dim,
                       kMostHeadDim);
  const auto isas = bench::parse_isas(options.isas);
  if (!isas) return tl::unexpected(isas.error());
  settings.isas = *isas;
  settings.kv_heads = options.kv_heads;
  settings.rounds = options.rounds;
  settings.attend = options.attend;
  settings.least_bytes = options.megabytes > 0 ? static_cast<size_t>(options.megabytes * 1e6)
                                               : 4 * bench::last_level_cache_bytes();
  return settings;
}

Result<int> run(const Options& options) {
  const auto settings = settings_of(options);
  if (!settings) return tl::unexpected(settings.error());
  auto json = bench_head("attention", settings->threads.back());
  if (!json) return tl::unexpected(json.error());
  Progress progress("bench attention");
  const auto result = bench::bench_attention(*settings, progress.fn());
  if (!result) return tl::unexpected(result.error());
  const auto bars = bench::attention_bars(result->rows);
  (*json)["rounds"] = settings->rounds;
  (*json)["results"] = bench::attention_json(result->rows);
  (*json)["bars"] = bench::bars_json(bars);
  return finish_bench(options.json, *json,
                      bench::attention_text(result->rows) + bench::bars_text(bars),
                      result->interrupted);
}

}  // namespace

void add_bench_attention(CLI::App& bench, Action* action) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      bench.add_subcommand("attention", "decode attention from memory, layout by layout");
  command->add_option("-t,--threads", options->threads, "threads, a list (default: 1,2)");
  command->add_option("-c,--context", options->contexts, "tokens, a list as 1K,16K (default: 16K)");
  command->add_option("--gqa", options->gqa, "query heads of a kv head, a list (default: 4)");
  command->add_option("--head-dim", options->head_dims,
                      "channels of a head, a list (default: 128)");
  command->add_option("--kv-heads", options->kv_heads, "kv heads of a layer (default: 8)")
      ->check(integer_between(1, 1024));
  command->add_option("--layouts", options->layouts,
                      "layouts, a list; keys/values where they differ: f16,u4,u4g32,u4/u2 "
                      "(default: every layout, and u4 with u2)");
  command->add_option("--at", options->attend,
                      "how queries meet codes: a method of the plan's slot 'attend'");
  command->add_option("--isas", options->isas,
                      "instruction sets measured in turn, a list (default: the selected one)");
  command->add_option("--rounds", options->rounds, "measured rounds (default: 7)")
      ->check(integer_between(1, 10000));
  command
      ->add_option("--mb", options->megabytes,
                   "least MB of keys and values a layout reads (default: 4 last-level caches)")
      ->check(number_between(0.001, 1e6));
  add_json(*command, &options->json);
  command->callback([=] { *action = [options] { return run(*options); }; });
}

}  // namespace kvkeep
