#include "eval/calibration_report.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "codec/calibration.h"
#include "engine/calibrate.h"
#include "eval/table.h"

namespace kvkeep {
namespace {

using Json = nlohmann::ordered_json;

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace

bool is_calibration(const std::string& path) {
  const auto file = MappedFile::open(path);
  return file && text_of(*file).starts_with("KVCAL");
}

Result<Json> inspect_calibration(const std::string& path) {
  const auto file = MappedFile::open(path);
  if (!file) return tl::unexpected(file.error());
  return calibration_json(text_of(*file), path);
}

Result<Json> calibration_json(std::string_view bytes, const std::string& path) {
  const auto read = Calibration::parse(bytes, path);
  if (!read) return tl::unexpected(read.error());
  const CalibrationKey& key = read->key();
  Json rows = Json::array();
  for (int layer = 0; layer < key.layers; ++layer) {
    const auto side = [&](Side of) -> Json {
      const Explained& figures = read->explained(layer, of);
      return {{"explained", figures.variance},
              {"residual", figures.residual},
              {"bytes", read->map(layer, of).bytes()}};
    };
    rows.push_back({{"layer", layer}, {"key", side(Side::key)}, {"value", side(Side::value)}});
  }
  return Json{{"schema", "kvkeep.calibration/1"},
              {"path", path},
              {"file_bytes", bytes.size()},
              {"model", fmt::format("{:016x}", key.model)},
              {"plan", key.plan},
              {"layers", key.layers},
              {"kv_heads", key.kv_heads},
              {"head_dim", key.head_dim},
              {"tokens", read->tokens},
              {"resident_bytes", read->resident_bytes()},
              {"explained", rows}};
}

std::string calibration_text(const Json& report) {
  std::string text = fmt::format(
      "calibration of model {} for {}\n{} layers of {} x {}; fitted to {} tokens; {} bytes\n\n",
      report.at("model").get<std::string>(), report.at("plan").get<std::string>(),
      report.at("layers").get<int>(), report.at("kv_heads").get<int>(),
      report.at("head_dim").get<int>(), grouped(report.at("tokens").get<int64_t>()),
      grouped(report.at("file_bytes").get<int64_t>()));
  Table table({"layer", "K explained", "K residual", "V explained", "V residual"});
  for (const auto& row : report.at("explained")) {
    std::vector<std::string> cells = {fmt::format("{}", row.at("layer").get<int>())};
    for (const char* side : {"key", "value"})
      for (const char* figure : {"explained", "residual"})
        cells.push_back(fmt::format("{:.3f}", row.at(side).at(figure).get<double>()));
    table.add(cells);
  }
  return text + table.text() +
         "\nexplained: share of the variance, on held-out windows; residual: power of what is left "
         "/ power of the rows\n";
}

Result<std::string> calibrate_to_bytes(const Model& model, const Plan& plan,
                                       const std::vector<std::vector<int32_t>>& windows,
                                       int threads, const ProgressFn& progress) {
  const auto made = calibrate({model, plan, windows, threads}, progress);
  if (!made) return tl::unexpected(made.error());
  return made->bytes();
}

}  // namespace kvkeep
