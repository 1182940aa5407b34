#include "engine/find_calibration.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>

#include "base/fail.h"
#include "base/file.h"
#include "model/first_layer.h"
#include "model/transformer.h"

namespace kvkeep {
namespace {

namespace fs = std::filesystem;
using Shared = std::shared_ptr<const Calibration>;

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

Result<Shared> load(const CalibrationKey& key, const std::string& path) {
  const auto file = MappedFile::open(path);
  if (!file) return tl::unexpected(file.error());
  auto read = Calibration::parse(text_of(*file), path);
  if (!read) return tl::unexpected(read.error());
  const CalibrationKey& found = read->key();
  if (found.model != key.model)
    return bad_input("'{}' is a calibration of another model ({:016x}, not {:016x})", path,
                     found.model, key.model);
  if (found.plan != key.plan)
    return bad_input("'{}' is a calibration for another plan: {}, not {}", path, found.plan,
                     key.plan);
  if (found != key) return bad_input("'{}' is a calibration of another shape", path);
  return std::make_shared<const Calibration>(*std::move(read));
}

// Files beside the model's, by name, whose key is the one asked for.
std::string path_beside(const Model& model, const CalibrationKey& key) {
  std::vector<std::string> names;
  std::error_code error;
  const fs::path folder = fs::path(model.info().path).parent_path();
  for (const auto& entry : fs::directory_iterator(folder.empty() ? "." : folder, error))
    if (entry.path().extension() == ".kvcal") names.push_back(entry.path().string());
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const auto file = MappedFile::open(name);
    if (!file) continue;
    const auto found = Calibration::parse_key(text_of(*file), name);
    if (found && *found == key) return name;
  }
  return "";
}

// What tells a file from another of that name that took its place.
std::string file_id(const std::string& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  const auto written = fs::last_write_time(path, error).time_since_epoch().count();
  return fmt::format("{}|{}|{}", path, size, written);
}

}  // namespace

CalibrationKey calibration_key(const Model& model, const Plan& plan) {
  const ModelInfo& info = model.info();
  return {info.fingerprint, calibration_plan(plan), info.layers, info.kv_heads, info.head_dim};
}

TokenRows token_rows(const Model& model, const Plan& plan) {
  if (plan.slot("low").method != "chunk" || plan.slot("low").param("first") != "token") return {};
  const auto first = std::make_shared<const FirstLayer>(model.transformer());
  return {
      first->vocab(),
      [first](std::vector<float>* key, std::vector<float>* value) { first->unpack(key, value); },
      [first](std::span<const int32_t> tokens, std::span<const float> key,
              std::span<const float> value, float* keys,
              float* values) { first->read(tokens, key, value, keys, values); }};
}

Result<Shared> find_calibration(const Model& model, const Plan& plan, const std::string& path) {
  if (plan.slot("low").method != "chunk" || !make_predictor(plan.slot("predictor")).calibrated())
    return Shared();
  const CalibrationKey key = calibration_key(model, plan);
  const std::string name = path.empty() ? path_beside(model, key) : path;
  if (name.empty()) return Shared();
  static std::mutex mutex;
  static std::map<std::string, std::weak_ptr<const Calibration>> known;  // by file and key
  const std::string id = fmt::format("{}|{:x}|{}", file_id(name), key.model, key.plan);
  const std::lock_guard lock(mutex);
  std::erase_if(known, [](const auto& entry) { return entry.second.expired(); });
  if (const auto found = known.find(id); found != known.end())
    if (Shared shared = found->second.lock()) return shared;
  auto loaded = load(key, name);
  if (loaded) known[id] = *loaded;
  return loaded;
}

}  // namespace kvkeep
