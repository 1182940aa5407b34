#include "eval/html/prompt_map.h"

#include <algorithm>

#include "base/fail.h"
#include "eval/all_plans.h"
#include "eval/hidden_fact.h"
#include "eval/passkey.h"

namespace kvkeep {
namespace {

constexpr int kTokens = 512;
constexpr double kDepth = 0.5;
constexpr int kFillerSample = 2;  // of task passkey: the one at depth 0.5

struct Prompt {
  std::vector<int32_t> tokens;
  std::string fact;
};

Result<Prompt> make_prompt(TaskInput in) {
  in.options.context = std::min(in.options.context, kTokens);
  size_t offset = 0;
  const auto hidden =
      hide_fact(in.model, in.text, &offset, kDepth, in.options.context, in.options.seed);
  if (hidden) return Prompt{hidden->passage, hidden->fact};
  const auto sample = make_passkey(in, kFillerSample);
  if (!sample) return tl::unexpected(sample.error());
  return Prompt{in.model.encode(sample->context, true), fact_text(sample->questions[0].answers[0])};
}

// What each token adds to the text: a token alone may decode to something else (a leading blank).
std::vector<std::string> token_texts(const Model& model, const std::vector<int32_t>& tokens) {
  std::vector<std::string> texts;
  std::vector<int32_t> prefix;
  size_t done = 0;
  for (const int32_t token : tokens) {
    prefix.push_back(token);
    const std::string text = model.decode(prefix);
    texts.push_back(text.substr(std::min(done, text.size())));
    done = text.size();
  }
  return texts;
}

// Marks the tokens that spell the fact.
void find_fact(const std::string& fact, PromptMap* map) {
  std::string text;
  for (const auto& token : map->tokens) text += token;
  const size_t begin = text.find(fact);
  if (begin == std::string::npos) return;
  size_t at = 0;
  for (int i = 0; i < static_cast<int>(map->tokens.size()); ++i) {
    at += map->tokens[static_cast<size_t>(i)].size();
    if (at <= begin) map->fact_begin = i + 1;
    map->fact_end = i + 1;
    if (at >= begin + fact.size()) break;
  }
}

Result<TierMap> map_plan(const TaskInput& in, const Plan& plan, const std::vector<int32_t>& tokens,
                         const ProgressFn& progress) {
  auto session = open_session(in, plan);
  if (!session) return tl::unexpected(session.error());
  KVKEEP_TRY(session->prefill(tokens, progress));
  return session->tier_map();
}

PromptMap no_map(std::string why) {
  PromptMap map;
  map.missing = std::move(why);
  return map;
}

}  // namespace

Result<PromptMap> map_prompt(const TaskInput& in) {
  const auto prompt = make_prompt(in);
  if (!prompt) return no_map(prompt.error().message);
  PromptMap map;
  map.tokens = token_texts(in.model, prompt->tokens);
  find_fact(prompt->fact, &map);
  const auto plans = static_cast<double>(in.plans.size());
  for (const Plan& plan : in.plans) {
    const auto done = static_cast<double>(map.plans.size());
    auto tiers = map_plan(in, plan, prompt->tokens, unit_of(in.progress, done, plans));
    if (!tiers && tiers.error().code == ErrorCode::cancelled) return no_map("the run was stopped");
    if (!tiers) return tl::unexpected(tiers.error());
    map.plans.push_back({plan.typed(), plan.canonical(), std::move(*tiers)});
  }
  return map;
}

}  // namespace kvkeep
