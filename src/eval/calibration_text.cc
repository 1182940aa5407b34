#include "eval/calibration_text.h"

#include "base/fail.h"
#include "base/rng.h"
#include "eval/record.h"

namespace kvkeep {
namespace {

constexpr uint64_t kSeed = 0x6b76636c;  // keeps the records apart from those of the tasks

// The window that begins at the first blank after byte `from`.
std::vector<int32_t> prose(const Model& model, std::string_view text, size_t from, int context) {
  const size_t blank = text.find_first_of(" \n", from);
  return first_tokens(model, text.substr(blank == std::string_view::npos ? 0 : blank + 1), context);
}

// Fisher and Yates; the first token stays, as it may be one that begins a text.
void shuffle(std::vector<int32_t>* tokens, uint64_t seed) {
  Rng rng(seed);
  for (size_t i = tokens->size(); i-- > 2;) std::swap((*tokens)[i], (*tokens)[1 + rng.below(i)]);
}

Result<std::vector<int32_t>> record(const TaskInput& in, int index) {
  const auto sample = make_record(in, index % 2 ? dictionary_style() : lines_style(), index);
  if (!sample) return tl::unexpected(sample.error());
  std::string text = sample->context;
  for (const auto& question : sample->questions) text += question.ask + question.answers[0] + "\n";
  auto tokens = in.model.encode(text, in.model.adds_bos());
  tokens.resize(std::min(tokens.size(), static_cast<size_t>(in.options.context)));
  return tokens;
}

}  // namespace

Result<std::vector<std::vector<int32_t>>> calibration_windows(const Model& model,
                                                              std::string_view text, int context,
                                                              int64_t tokens, uint64_t seed) {
  const int64_t n = tokens / context;
  constexpr int kLeast = 16;
  if (n < kLeast)
    return bad_input("calibration needs at least {} windows: {} tokens, found {}", kLeast,
                     int64_t{kLeast} * context, tokens);
  TaskOptions options;
  options.context = context;
  options.seed = hash64(seed ^ kSeed);
  const TaskInput in{model, {}, text, options, {}};
  std::vector<std::vector<int32_t>> windows;
  for (int64_t i = 0; i < n; ++i) {
    if (i % 2) {
      auto made = record(in, static_cast<int>(i / 2));
      if (!made) return tl::unexpected(made.error());
      windows.push_back(*std::move(made));
      continue;
    }
    const auto from = static_cast<size_t>(static_cast<double>(text.size()) *
                                          static_cast<double>(i) / static_cast<double>(n));
    windows.push_back(prose(model, text, from, context));
    if (i % 4 == 0) shuffle(&windows.back(), hash64(options.seed + static_cast<uint64_t>(i)));
    if (windows.back().size() < static_cast<size_t>(context) / 2)
      return bad_input(
          "the text is too short: the window from byte {} on has {} tokens of {}; give more text "
          "or a smaller --tokens",
          from, windows.back().size(), context);
  }
  return windows;
}

}  // namespace kvkeep
