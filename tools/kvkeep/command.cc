#include "command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <utility>

#include "base/fail.h"
#include "base/file.h"

namespace kvkeep {
namespace {

constexpr const char* kEmbeddedModel = "models/kvkeep-5m-f16.gguf";
constexpr const char* kPassage = "src/eval/data/passage.txt";
constexpr int kMaxThreads = 1024;

template <class T>
CLI::Validator between(T low, T high) {
  return CLI::Validator(
      [=](std::string& text) -> std::string {
        T value{};
        const char* end = text.data() + text.size();
        const auto [rest, error] = std::from_chars(text.data(), end, value);
        if (error == std::errc() && rest == end && value >= low && value <= high) return "";
        return fmt::format("'{}' is not a number from {} to {}", text, low, high);
      },
      "");
}

std::string& command_line_storage() {
  static std::string line;
  return line;
}

}  // namespace

CLI::Validator number_between(double low, double high) { return between<double>(low, high); }

CLI::Validator integer_between(int64_t low, int64_t high) { return between<int64_t>(low, high); }

CLI::Validator not_empty() {
  return CLI::Validator(
      [](std::string& text) { return text.empty() ? "the value is empty" : std::string(); }, "");
}

void add_json(CLI::App& app, bool* json) {
  app.add_flag("--json", *json, "print one JSON object to standard output and nothing else");
}

void add_common(CLI::App& app, CommonOptions* options) {
  app.add_option("-m,--model", options->model, "GGUF file (default: the embedded model)")
      ->check(not_empty());
  app.add_option("-t,--threads", options->threads, "threads (default: all cores)")
      ->check(integer_between(1, kMaxThreads));
  app.add_option("-c,--ctx", options->context,
                 "tokens of context (default: the model's; eval: at most 2048)")
      ->check(integer_between(1, INT_MAX));
  app.add_option("--seed", options->seed, "seed of everything random (default: 0)")
      ->check(integer_between(0, INT64_MAX));
  add_json(app, &options->json);
}

Result<Model> load_model(const CommonOptions& options) {
  return Model::load(options.model.empty() ? project_file(kEmbeddedModel) : options.model);
}

Result<int> context_of(const CommonOptions& options, const Model& model, int otherwise) {
  const int most = model.info().context;
  if (options.context > most)
    return bad_input("--ctx {} is more than the model's context; allowed: 1 to {}", options.context,
                     most);
  return options.context > 0 ? options.context : std::min(otherwise, most);
}

Result<void> check_calibration(const std::string& path, const std::vector<Plan>& plans) {
  const auto predicts = [](const Plan& plan) { return plan.slot("predictor").method != "none"; };
  if (path.empty() || std::any_of(plans.begin(), plans.end(), predicts)) return {};
  return bad_input("--calibration is for plans with a predictor, such as aqua2; here is none");
}

std::string project_file(const std::string& relative) {
  namespace fs = std::filesystem;
  const fs::path source = fs::path(KVKEEP_SOURCE_DIR) / relative;
  std::error_code error;
  if (fs::exists(source, error)) return source.string();
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  const fs::path moved = self.parent_path() / ".." / ".." / relative;
  return fs::exists(moved, error) ? moved.lexically_normal().string() : source.string();
}

Result<std::string> read_text(const std::string& path) {
  if (path != "-") return read_file(path);
  constexpr size_t kMostBytes = size_t{1} << 30;
  std::string text;
  char buffer[1 << 16];
  while (true) {
    const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (n == 0) return text;
    if (n < 0 && errno == EINTR) return cancelled();
    if (n < 0) return bad_input("cannot read standard input: {}", std::strerror(errno));
    text.append(buffer, static_cast<size_t>(n));
    if (text.size() > kMostBytes)
      return bad_input("standard input has more than {} bytes, which is the most that is read",
                       kMostBytes);
  }
}

Result<std::string> text_or_passage(const std::string& path) {
  return read_text(path.empty() ? project_file(kPassage) : path);
}

Result<std::vector<Plan>> parse_plans(const std::string& text) {
  std::vector<Plan> plans;
  std::istringstream stream(text);
  for (std::string word; stream >> word;) {
    auto plan = Plan::parse(word);
    if (!plan) return tl::unexpected(plan.error());
    plans.push_back(std::move(*plan));
  }
  if (plans.empty()) return bad_input("--plans names no plan; see kvkeep methods");
  return plans;
}

Result<void> write_out(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return bad_input("cannot write to standard output: {}", std::strerror(errno));
    text.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

const std::string& command_line() { return command_line_storage(); }

void set_command_line(int argc, char** argv) {
  std::string& line = command_line_storage();
  for (int i = 0; i < argc; ++i) {
    const std::string word = argv[i];
    const bool plain = word.find_first_of(" \t\n'\"\\$`;|&<>()*?") == std::string::npos;
    line += (i ? " " : "") + (plain && !word.empty() ? word : "'" + word + "'");
  }
}

}  // namespace kvkeep
