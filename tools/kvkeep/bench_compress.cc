// kvkeep bench compress: what encoding, scores and reading a compressed past cost.
#include <nlohmann/json.hpp>

#include "bench.h"
#include "eval/bench/attention.h"
#include "eval/bench/compress.h"
#include "progress.h"

namespace kvkeep {
namespace {

constexpr int kMostTokens = 1 << 17;

struct Options {
  std::string model, slices = "32,128,512", contexts = "1K,4K,8K";
  std::string plans = "q8_0 q4_0 rtn2 mikv-4 mikv";
  int threads = 1, rounds = 7, past = 4096, prompt = 2048;
  std::vector<std::string> parts = bench::CompressOptions().parts;
  bool json = false;
};

Result<bench::CompressOptions> settings_of(const Options& options) {
  bench::CompressOptions settings;
  settings.layouts = bench::default_layouts();
  const auto slices = parse_counts(options.slices, "--slices", 1, 4096);
  if (!slices) return tl::unexpected(slices.error());
  settings.slices = *slices;
  const auto contexts = parse_counts(options.contexts, "--context", 1, kMostTokens);
  if (!contexts) return tl::unexpected(contexts.error());
  settings.contexts = *contexts;
  const auto plans = parse_plans(options.plans);
  if (!plans) return tl::unexpected(plans.error());
  for (const Plan& plan : *plans) settings.plans.push_back(plan.typed());
  settings.parts = options.parts;
  settings.threads = options.threads;
  settings.rounds = options.rounds;
  settings.past = options.past;
  settings.prompt = options.prompt;
  return settings;
}

Result<int> run(const Options& options) {
  const auto settings = settings_of(options);
  if (!settings) return tl::unexpected(settings.error());
  CommonOptions common;
  common.model = options.model;
  const auto model = load_model(common);
  if (!model) return tl::unexpected(model.error());
  auto json = bench_head("compress", options.threads);
  if (!json) return tl::unexpected(json.error());
  Progress progress("bench compress");
  const auto result = bench::bench_compress(*settings, *model, progress.fn());
  if (!result) return tl::unexpected(result.error());
  const auto bars = bench::compress_bars(*result);
  (*json)["model"] = model_json(model->info());
  (*json)["rounds"] = settings->rounds;
  (*json)["results"] = bench::compress_json(*result);
  (*json)["bars"] = bench::bars_json(bars);
  return finish_bench(options.json, *json, bench::compress_text(*result) + bench::bars_text(bars),
                      result->interrupted);
}

}  // namespace

void add_bench_compress(CLI::App& bench, Action* action) {
  const auto options = std::make_shared<Options>();
  CLI::App* command =
      bench.add_subcommand("compress", "encoding, scores, attention over a compressed past");
  command->add_option("-m,--model", options->model,
                      "GGUF file that reads a prompt (default: the embedded model)");
  command->add_option("-t,--threads", options->threads, "threads (default: 1)")
      ->check(integer_between(1, 1024));
  command->add_option("--slices", options->slices,
                      "queries of a slice, a list (default: 32,128,512)");
  command->add_option("--past", options->past, "tokens before a slice (default: 4096)")
      ->check(integer_between(1, kMostTokens));
  command->add_option("-c,--context", options->contexts,
                      "tokens that are scored, or read from chunks, a list (default: 1K,4K,8K)");
  command->add_option("--prompt", options->prompt, "tokens of the prompt (default: 2048)")
      ->check(integer_between(1, kMostTokens));
  command->add_option("--plans", options->plans,
                      "plans that compress the prompt (default: \"q8_0 q4_0 rtn2 mikv-4 mikv\")");
  command
      ->add_option("--parts", options->parts,
                   "what is measured, a list (default: encode,prompt,slices,scores,reads,crush)")
      ->delimiter(',')
      ->check(CLI::IsMember(bench::CompressOptions().parts));
  command->add_option("--rounds", options->rounds, "measured rounds (default: 7)")
      ->check(integer_between(1, 10000));
  add_json(*command, &options->json);
  command->callback([=] { *action = [options] { return run(*options); }; });
}

}  // namespace kvkeep
