// kvkeep run: generates a text on a compressed cache and says where every byte of the cache is.
#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "command.h"
#include "eval/report.h"
#include "interrupt.h"
#include "kvkeep/methods.h"
#include "kvkeep/session.h"
#include "progress.h"
#include "text_stream.h"

namespace kvkeep {
namespace {

using Clock = std::chrono::steady_clock;

struct RunOptions {
  CommonOptions common;
  std::string prompt, file, plan = "mikv", calibration;
  bool has_prompt = false, no_bos = false, layers = false, ignore_eos = false;
  int tokens = 128;
  float temperature = 0, top_p = 1;
};

// What came out, and how long it took.
struct Generation {
  std::string text, end = "length";  // why it ended: length, eos, context, interrupted
  int prompt_tokens = 0, tokens = 0;
  int steps = 0;  // tokens fed while decoding; the prompt alone gives the first one
  double prefill_seconds = 0, decode_seconds = 0;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double rate(int tokens, double seconds) { return seconds > 0 ? tokens / seconds : 0; }

Result<std::vector<int32_t>> prompt_tokens(const RunOptions& options, const Model& model,
                                           int context) {
  if (options.has_prompt == !options.file.empty())
    return bad_input("run needs a prompt: either -p TEXT or -f FILE");
  const auto text =
      options.has_prompt ? Result<std::string>(options.prompt) : read_text(options.file);
  if (!text) return tl::unexpected(text.error());
  auto tokens = model.encode(*text, model.adds_bos() && !options.no_bos);
  if (tokens.empty()) return bad_input("the prompt is empty; at least one token is needed");
  if (tokens.size() > static_cast<size_t>(context))
    return bad_input("the prompt has {} tokens; the context holds {}", tokens.size(), context);
  return tokens;
}

Result<void> prefill(Session& session, const std::vector<int32_t>& prompt, Generation& out) {
  Progress progress("prefill");
  const auto start = Clock::now();
  const auto fed = session.prefill(prompt, progress.fn());
  out.prefill_seconds = seconds_since(start);
  out.prompt_tokens = session.tokens();
  if (fed) return {};
  if (fed.error().code != ErrorCode::cancelled) return fed;
  out.end = "interrupted";
  return {};
}

// Decodes and prints as it goes, unless the output is one JSON object.
Result<void> decode(const RunOptions& options, const Model& model, int32_t last, Session& session,
                    Generation& out) {
  TextStream stream;
  const auto emit = [&](const std::string& text) -> Result<void> {
    out.text += text;
    return options.common.json ? Result<void>() : write_out(text);
  };
  Progress progress("run");
  const ProgressFn report = options.common.json ? progress.fn() : ProgressFn();
  const auto start = Clock::now();
  while (out.tokens < options.tokens && out.end == "length") {
    const int32_t token = session.sample(options.temperature, options.top_p);
    if (token == model.eos() && !options.ignore_eos) {
      out.end = "eos";
      break;
    }
    // The bytes a token adds after its predecessor: tokenizers may treat a first token differently.
    const std::string before = model.decode({last});
    KVKEEP_TRY(emit(stream.push(model.decode({last, token}).substr(before.size()))));
    ++out.tokens;
    last = token;
    if (interrupted())
      out.end = "interrupted";
    else if (session.tokens() == session.context())
      out.end = "context";
    else if (out.tokens < options.tokens) {
      KVKEEP_TRY(session.step(token));
      ++out.steps;
      if (report) report(out.tokens, options.tokens);
    }
  }
  out.decode_seconds = seconds_since(start);
  return emit(stream.finish());
}

Json run_json(const RunOptions& options, const Model& model, const MachineInfo& machine,
              const CacheReport& report, const Generation& out) {
  return {{"schema", "kvkeep.run/1"},
          {"command", command_line()},
          {"model", model_json(model.info())},
          {"machine", machine_json(machine, options.common.threads)},
          {"interrupted", out.end == "interrupted"},
          {"plan", report.plan},
          {"preset", report.preset},
          {"text", out.text},
          {"end", out.end},
          {"prompt_tokens", out.prompt_tokens},
          {"generated_tokens", out.tokens},
          {"timings",
           {{"prefill_seconds", out.prefill_seconds},
            {"decode_seconds", out.decode_seconds},
            {"prefill_tokens_per_second", rate(out.prompt_tokens, out.prefill_seconds)},
            {"decode_tokens_per_second", rate(out.steps, out.decode_seconds)}}},
          {"protocol",
           {{"ctx", model.info().context},
            {"exact_window", report.exact_window},
            {"sinks", report.sinks},
            {"seed", options.common.seed}}},
          {"cache", cache_json(report)}};
}

std::string run_text(const CacheReport& report, const Generation& out, bool layers) {
  std::string text =
      fmt::format("\n\nspeed     prefill {:.0f} tokens/s ({}), decode {:.1f} tokens/s ({})\n",
                  rate(out.prompt_tokens, out.prefill_seconds), out.prompt_tokens,
                  rate(out.steps, out.decode_seconds), out.tokens);
  if (out.end == "context") text += "end       the context is full\n";
  return text + cache_text(report, layers);
}

Result<int> run(const RunOptions& options) {
  const auto plan = Plan::parse(options.plan);
  if (!plan) return tl::unexpected(plan.error());
  KVKEEP_TRY(check_calibration(options.calibration, {*plan}));
  const auto model = load_model(options.common);
  if (!model) return tl::unexpected(model.error());
  const auto context = context_of(options.common, *model, model->info().context);
  if (!context) return tl::unexpected(context.error());
  const auto prompt = prompt_tokens(options, *model, *context);
  if (!prompt) return tl::unexpected(prompt.error());
  const auto machine = machine_info();
  if (!machine) return tl::unexpected(machine.error());
  auto session =
      Session::create(*model, *plan, {options.common.threads, *context, options.calibration});
  if (!session) return tl::unexpected(session.error());
  session->seed(options.common.seed);

  Generation out;
  KVKEEP_TRY(prefill(*session, *prompt, out));
  fmt::print(stderr, "plan {}\nlayouts {}; kernels {}; {} threads\n", plan->canonical(),
             tiers_text(session->report().tiers), machine->isa, session->threads());
  if (const std::string hint = advice(*plan, false); !hint.empty())
    fmt::print(stderr, "hint: {}\n", hint);
  if (out.end == "length") KVKEEP_TRY(decode(options, *model, prompt->back(), *session, out));
  const CacheReport report = session->report(options.layers);
  KVKEEP_TRY(write_out(options.common.json
                           ? json_text(run_json(options, *model, *machine, report, out))
                           : run_text(report, out, options.layers)));
  if (out.end != "interrupted") return kExitOk;
  return failed("stopped after {} tokens", out.tokens);
}

}  // namespace

void add_run(CLI::App& app, Action* action) {
  const auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand("run", "generate a text on a compressed cache");
  add_common(*command, &options->common);
  const auto* prompt = command->add_option("-p,--prompt", options->prompt, "the prompt");
  command->add_option("-f,--file", options->file, "file with the prompt, - for standard input")
      ->check(not_empty());
  command->add_option("-n,--tokens", options->tokens, "tokens to generate (default: 128)")
      ->check(integer_between(1, 1 << 30));
  command->add_option("--plan", options->plan, "how the cache is compressed (default: mikv)");
  command
      ->add_option("--calibration", options->calibration,
                   "what kvkeep calibrate wrote, for plans with a predictor (default: the file "
                   "beside the model)")
      ->check(not_empty());
  command
      ->add_option("--temp", options->temperature, "temperature (default: 0, the likeliest token)")
      ->check(number_between(0, 100));
  command
      ->add_option("--top-p", options->top_p,
                   "sample among the likeliest tokens of this total probability (default: 1)")
      ->check(number_between(0, 1));
  command->add_flag("--no-bos", options->no_bos, "do not put the model's BOS token in front");
  command->add_flag("--ignore-eos", options->ignore_eos, "go on after the model's end token");
  command->add_flag("--layers", options->layers, "report every layer");
  command->callback([=] {
    options->has_prompt = prompt->count() > 0;
    *action = [options] { return run(*options); };
  });
}

}  // namespace kvkeep
