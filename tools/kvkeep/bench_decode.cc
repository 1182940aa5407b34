// kvkeep bench decode: tokens per second of the whole engine at several depths, beside a rival's.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/fail.h"
#include "bench.h"
#include "eval/bench/decode.h"
#include "eval/bench/random_model.h"
#include "progress.h"

namespace kvkeep {
namespace {

constexpr int kMostDepth = 1 << 17;

struct Options {
  std::string model, depths, plans = "f16 q8_0 q4_0 mikv-4 mikv rtn2";
  std::vector<std::string> rivals;
  int threads = 0, rounds = 7, steps = 16, rival_steps = 2, batch = 1;
  bool random = false, steal = false, json = false;
};

Result<bench::DecodeOptions> settings_of(const Options& options) {
  bench::DecodeOptions settings;
  const auto plans = parse_plans(options.plans);
  if (!plans) return tl::unexpected(plans.error());
  settings.plans = *plans;
  const std::string depths = !options.depths.empty() ? options.depths
                             : options.random        ? "0,4K,16K,32K"
                                                     : "0,1K,1792";
  const auto counts = parse_counts(depths, "--depths", 0, kMostDepth);
  if (!counts) return tl::unexpected(counts.error());
  settings.depths = *counts;
  std::sort(settings.depths.begin(), settings.depths.end());
  settings.made_up_rows = options.random;
  settings.rounds = options.rounds;
  settings.steps = options.steps;
  settings.rival_steps = options.rival_steps;
  settings.rivals = options.rivals;
  settings.steal = options.steal;
  settings.batch = options.batch;
  return settings;
}

Result<void> check_room(const bench::DecodeOptions& settings, const Model& model) {
  const int steps = (settings.rounds + 1) * settings.steps * (settings.steal ? 2 : 1);
  const int most = model.info().context;
  if (settings.depths.back() + steps > most)
    return bad_input(
        "--depths {} and {} decoded tokens are more than the model's context; "
        "allowed: up to {}",
        settings.depths.back(), steps, most - steps);
  return {};
}

std::string heading(const Options& options, const bench::DecodeOptions& settings) {
  std::string text =
      options.random ? "whole engine on random weights: 8 layers, 32/8 heads x 128; the cache is "
                       "filled with made-up rows\n"
                     : "whole engine\n";
  if (options.batch > 1)
    text += fmt::format("{} sequences take each step together; times are divided by them\n",
                        options.batch);
  if (settings.rivals.empty())
    text += "no rival was measured: ./dev bench --setup-rivals, then ./dev bench rivals\n";
  return text;
}

Result<int> run(const Options& options) {
  auto settings = settings_of(options);
  if (!settings) return tl::unexpected(settings.error());
  CommonOptions common;
  common.model = options.model;
  std::optional<bench::TemporaryFile> file;
  if (options.random) {
    auto made = bench::TemporaryFile::make(bench::random_model({}), ".gguf");
    if (!made) return tl::unexpected(made.error());
    file.emplace(*std::move(made));
    common.model = file->path();
  }
  const auto model = load_model(common);
  if (!model) return tl::unexpected(model.error());
  KVKEEP_TRY(check_room(*settings, *model));
  const auto machine = machine_info();
  if (!machine) return tl::unexpected(machine.error());
  settings->threads = options.threads > 0 ? options.threads : machine->cores;
  auto json = bench_head("decode", settings->threads);
  if (!json) return tl::unexpected(json.error());
  Progress progress("bench decode");
  const auto result = bench::bench_decode(*settings, *model, progress.fn());
  if (!result) return tl::unexpected(result.error());
  const auto bars = bench::decode_bars(*result);
  (*json)["model"] = model_json(model->info());
  (*json)["rounds"] = settings->rounds;
  (*json)["steps"] = settings->steps;
  (*json)["batch"] = settings->batch;
  (*json)["rival_steps"] = settings->rival_steps;
  (*json)["made_up_rows"] = settings->made_up_rows;
  (*json)["rivals"] = bench::rivals_json(*result);
  (*json)["results"] = bench::decode_json(*result);
  (*json)["bars"] = bench::bars_json(bars);
  return finish_bench(
      options.json, *json,
      heading(options, *settings) + bench::decode_text(*result) + bench::bars_text(bars),
      result->interrupted);
}

}  // namespace

void add_bench_decode(CLI::App& bench, Action* action) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = bench.add_subcommand("decode", "tokens per second of the whole engine");
  auto* model =
      command->add_option("-m,--model", options->model, "GGUF file (default: the embedded model)");
  command
      ->add_flag("--random", options->random,
                 "random weights: 8 layers, 32/8 heads x 128, and a cache of made-up rows")
      ->excludes(model);
  command->add_option("-t,--threads", options->threads, "threads (default: all cores)")
      ->check(integer_between(1, 1024));
  command->add_option("--depths", options->depths,
                      "tokens in the cache, a list (default: 0,1K,1792; 0,4K,16K,32K of --random)");
  command->add_option("--plans", options->plans,
                      "plans (default: \"f16 q8_0 q4_0 mikv-4 mikv rtn2\")");
  command
      ->add_option("--batch", options->batch,
                   "sequences that take each step together; times are divided by them (default: 1)")
      ->check(integer_between(1, 256));
  command
      ->add_option("--rival", options->rivals,
                   "a command that takes part (bench/baselines), again for each; ./dev bench "
                   "rivals gives them")
      ->allow_extra_args(false)
      ->excludes("--batch");
  command->add_flag("--steal", options->steal,
                    "measure too while another process takes one core away");
  command->add_option("--rounds", options->rounds, "measured rounds (default: 7)")
      ->check(integer_between(1, 10000));
  command->add_option("--steps", options->steps, "tokens of each turn (default: 16)")
      ->check(integer_between(1, 10000));
  command
      ->add_option("--rival-steps", options->rival_steps, "tokens of a rival's turn (default: 2)")
      ->check(integer_between(1, 10000));
  add_json(*command, &options->json);
  command->callback([=] { *action = [options] { return run(*options); }; });
}

}  // namespace kvkeep
