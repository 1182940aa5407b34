// Task data: the user's samples, scored as answers in natural language.
#include "eval/data.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "eval/answer_score.h"

namespace kvkeep {
namespace {

using Json = nlohmann::json;

// A field of text; fails if it is missing (unless it has a default) or no text.
Result<std::string> text_of(const Json& line, const char* field, const char* otherwise = nullptr) {
  const auto found = line.find(field);
  if (found == line.end() && otherwise) return std::string(otherwise);
  if (found == line.end()) return bad_input("field '{}' is missing", field);
  if (!found->is_string()) return bad_input("field '{}' is not a text", field);
  return found->get<std::string>();
}

Result<std::vector<std::string>> answers_of(const Json& line, const char* field) {
  const Json& answers = line.at(field);
  if (!answers.is_array() || answers.empty() ||
      !std::all_of(answers.begin(), answers.end(), [](const Json& a) { return a.is_string(); }))
    return bad_input("field '{}' is not a list of at least one text", field);
  return answers.get<std::vector<std::string>>();
}

Result<RecallSample> longbench_sample(const Json& line) {
  auto context = text_of(line, "context"), input = text_of(line, "input"),
       dataset = text_of(line, "dataset", "");
  auto answers = answers_of(line, "answers");
  if (!context) return tl::unexpected(context.error());
  if (!input) return tl::unexpected(input.error());
  if (!dataset) return tl::unexpected(dataset.error());
  if (!answers) return tl::unexpected(answers.error());
  const std::string ask = input->empty() ? "\nAnswer:" : "\n" + *input + "\nAnswer:";
  const std::string group = dataset->empty() ? "" : "dataset_" + *dataset;  // never a metric's name
  return RecallSample{std::move(*context), {{ask, std::move(*answers)}}, {}, group};
}

Result<RecallSample> ruler_sample(const Json& line) {
  auto input = text_of(line, "input"), prefix = text_of(line, "answer_prefix", "");
  auto answers = answers_of(line, "outputs");
  if (!input) return tl::unexpected(input.error());
  if (!prefix) return tl::unexpected(prefix.error());
  if (!answers) return tl::unexpected(answers.error());
  const size_t cut = input->find_last_of('\n', input->find_last_not_of('\n'));
  if (cut == std::string::npos)
    return bad_input("field 'input' has one line; the last one is taken as the question");
  return RecallSample{input->substr(0, cut), {{input->substr(cut) + *prefix, std::move(*answers)}}};
}

Result<RecallSample> parse_sample(std::string_view text) {
  const Json line = Json::parse(text, nullptr, false);
  if (!line.is_object()) return bad_input("not a JSON object");
  if (line.contains("answers")) return longbench_sample(line);
  if (line.contains("outputs")) return ruler_sample(line);
  return bad_input("neither field 'answers' (LongBench) nor 'outputs' (RULER)");
}

}  // namespace

Result<std::vector<RecallSample>> parse_samples(std::string_view text, const std::string& name) {
  std::vector<RecallSample> samples;
  int number = 1;
  for (size_t begin = 0; begin < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    auto sample = parse_sample(line);
    if (!sample) return bad_input("{}:{}: {}", name, number, sample.error().message);
    samples.push_back(std::move(*sample));
  }
  if (samples.empty()) return bad_input("{} holds no samples", name);
  return samples;
}

Result<bool> cut_middle(const Model& model, RecallSample& sample, int context, int answer_tokens) {
  const auto tokens = model.encode(sample.context, false);
  int excess = recall_tokens(model, sample, answer_tokens) - context;
  if (excess <= 0) return false;
  // What is left may have a few tokens more where it is joined.
  for (int cut = excess; cut < static_cast<int>(tokens.size()); cut += std::max(excess, 1)) {
    const auto half = (static_cast<ptrdiff_t>(tokens.size()) - cut) / 2;
    std::vector<int32_t> rest(tokens.begin(), tokens.begin() + half);
    rest.insert(rest.end(), tokens.begin() + half + cut, tokens.end());
    sample.context = model.decode(rest);
    excess = recall_tokens(model, sample, answer_tokens) - context;
    if (excess <= 0) return true;
  }
  return bad_input("question and answer of a sample take more than {} tokens (--ctx)", context);
}

Result<TaskResult> run_data(const TaskInput& in) {
  const TaskOptions& o = in.options;
  if (o.data_name.empty()) return bad_input("task data needs --data FILE");
  auto samples = parse_samples(in.data, o.data_name);
  if (!samples) return tl::unexpected(samples.error());
  if (o.limited && static_cast<size_t>(o.samples) < samples->size())
    samples->resize(static_cast<size_t>(o.samples));
  int cut = 0;
  for (auto& sample : *samples) {
    const auto was = cut_middle(in.model, sample, o.context, o.answer_tokens);
    if (!was) return tl::unexpected(was.error());
    cut += *was;
  }
  const auto make = [&](const TaskInput&, int index) -> Result<RecallSample> {
    return (*samples)[static_cast<size_t>(index)];
  };
  const std::vector<RecallMetric> metrics = {{"f1", best_f1},
                                             {"rouge_l", best_rouge_l},
                                             {"exact_match", best_match},
                                             {"contains", contains_all}};
  TaskInput all = in;
  all.options.samples = static_cast<int64_t>(samples->size());
  auto result = run_recall(all, {"data", '\n', make, o.answer_tokens, metrics});
  if (!result) return result;
  for (auto& row : result->rows)
    row.metrics.insert(row.metrics.begin() + 2, {"cut", static_cast<double>(cut), true});
  return result;
}

}  // namespace kvkeep
