#include "eval/inspect.h"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "eval/table.h"
#include "model/gguf.h"

namespace kvkeep {
namespace {

using Json = nlohmann::ordered_json;

int64_t values(const Tensor& tensor) { return tensor.columns() * tensor.rows(); }

// Keys of the architecture, under our names; absent ones stay null.
Json config_json(const Gguf& file, const std::string& architecture) {
  static constexpr std::pair<const char*, const char*> kKeys[] = {
      {"layers", "block_count"},
      {"dim", "embedding_length"},
      {"q_heads", "attention.head_count"},
      {"kv_heads", "attention.head_count_kv"},
      {"head_dim", "attention.key_length"},
      {"ffn_dim", "feed_forward_length"},
      {"context", "context_length"},
  };
  Json config = Json::object();
  for (const auto& [name, key] : kKeys) {
    const auto value = file.integer(architecture + "." + key);
    if (value)
      config[name] = *value;
    else
      config[name] = nullptr;
  }
  const Json q_heads = config["q_heads"], dim = config["dim"];
  if (config["kv_heads"].is_null()) config["kv_heads"] = q_heads;
  if (config["head_dim"].is_null() && q_heads.is_number() && dim.is_number() &&
      q_heads.get<int64_t>() > 0)
    config["head_dim"] = dim.get<int64_t>() / q_heads.get<int64_t>();
  return config;
}

// In floating point: a file may claim any numbers.
Json f16_cache_json(const Json& config) {
  double per_token = 4;  // two f16 values
  for (const char* key : {"layers", "kv_heads", "head_dim"}) {
    if (!config.at(key).is_number()) return nullptr;
    per_token *= config.at(key).get<double>();
  }
  Json json = {{"bytes_per_token", per_token}};
  if (config.at("context").is_number())
    json["bytes_at_context"] = per_token * config.at("context").get<double>();
  return json;
}

Json tokenizer_json(const Gguf& file) {
  const auto* tokens = file.strings("tokenizer.ggml.tokens");
  return {{"model", file.text("tokenizer.ggml.model", "none")},
          {"pre", file.text("tokenizer.ggml.pre", "none")},
          {"vocab", tokens ? tokens->size() : 0}};
}

Json types_json(const Gguf& file) {
  struct Sum {
    int64_t tensors = 0, values = 0;
    size_t bytes = 0;
  };
  std::map<std::string, Sum> sums;
  for (const Tensor& tensor : file.tensors()) {
    Sum& sum = sums[tensor_type_name(tensor.type)];
    ++sum.tensors;
    sum.values += values(tensor);
    sum.bytes += tensor.data.size();
  }
  Json array = Json::array();
  for (const auto& [type, sum] : sums)
    array.push_back(
        {{"type", type}, {"tensors", sum.tensors}, {"values", sum.values}, {"bytes", sum.bytes}});
  return array;
}

std::string number_text(const Json& value) {
  if (value.is_number_integer()) return grouped(value.get<int64_t>());
  return value.is_null() ? "?" : value.dump();
}

}  // namespace

Result<Json> inspect_gguf(const std::string& path, bool all_tensors) {
  const auto mapped = MappedFile::open(path);
  if (!mapped) return tl::unexpected(mapped.error());
  const auto file = Gguf::open(path);
  if (!file) return tl::unexpected(file.error());
  const std::string architecture = file->text("general.architecture", "unknown");
  int64_t parameters = 0;
  for (const Tensor& tensor : file->tensors()) parameters += values(tensor);
  Json report = {{"schema", "kvkeep.inspect/1"},
                 {"file", path.substr(path.rfind('/') + 1)},
                 {"format", "GGUF"},
                 {"bytes", mapped->bytes().size()},
                 {"architecture", architecture},
                 {"name", file->text("general.name", "")},
                 {"metadata_keys", file->metadata().size()},
                 {"parameters", parameters},
                 {"config", config_json(*file, architecture)},
                 {"tokenizer", tokenizer_json(*file)},
                 {"types", types_json(*file)}};
  report["f16_cache"] = f16_cache_json(report["config"]);
  if (!all_tensors) return report;
  report["tensors"] = Json::array();
  for (const Tensor& tensor : file->tensors())
    report["tensors"].push_back({{"name", tensor.name},
                                 {"type", tensor_type_name(tensor.type)},
                                 {"shape", tensor.shape},
                                 {"bytes", tensor.data.size()}});
  return report;
}

std::string inspect_text(const Json& report) {
  std::string text =
      fmt::format("file          {}, GGUF, {}\narchitecture  {} {}\n",
                  report["file"].get<std::string>(), human_bytes(report["bytes"].get<double>()),
                  report["architecture"].get<std::string>(), report["name"].get<std::string>());
  text += "config       ";
  for (const auto& [name, value] : report["config"].items())
    text += fmt::format(" {}={}", name, number_text(value));
  const Json& tokenizer = report["tokenizer"];
  text += fmt::format("\ntokenizer     {}, pre-tokenizer {}, {} tokens\n",
                      tokenizer["model"].get<std::string>(), tokenizer["pre"].get<std::string>(),
                      number_text(tokenizer["vocab"]));
  const Json& cache = report["f16_cache"];
  if (cache.is_object())
    text += fmt::format("f16 cache     {} a token, {} at full context\n",
                        human_bytes(cache["bytes_per_token"].get<double>()),
                        human_bytes(cache.value("bytes_at_context", 0.0)));
  Table types({"<type", "tensors", "values", "bytes"});
  for (const auto& row : report["types"])
    types.add({row["type"].get<std::string>(), number_text(row["tensors"]),
               number_text(row["values"]), number_text(row["bytes"])});
  text += '\n';
  text += types.text();
  if (!report.contains("tensors")) return text;
  Table tensors({"<tensor", "<type", "<shape", "bytes"});
  for (const auto& row : report["tensors"])
    tensors.add({row["name"].get<std::string>(), row["type"].get<std::string>(),
                 row["shape"].dump(), number_text(row["bytes"])});
  return text + '\n' + tensors.text();
}

}  // namespace kvkeep
