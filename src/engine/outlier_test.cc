// Outlier channels, which small models lack: a copy of the embedded model in which one RoPE pair of
// every kv_head has its key rows x8 and its query rows / 8. Every q . k is what it was, so the
// model is the same function; but a quantizer now meets two channels eight times as large as the
// others. The balancer has to undo that, and does so exactly: its factors shrink by the same 8.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "base/half.h"
#include "kvkeep/session.h"
#include "model/gguf.h"

namespace kvkeep {
namespace {

const char* const kEmbedded = KVKEEP_SOURCE_DIR "/models/kvkeep-5m-f16.gguf";
constexpr int kHeadDim = 64, kPair = 31;  // the slowest pair, interleaved: channels 62 and 63

void scale_rows(const Tensor& tensor, std::string* file, const std::byte* start, float factor) {
  ASSERT_EQ(tensor.type, TensorType::f16);
  for (int64_t row = 0; row < tensor.rows(); ++row) {
    if (row % kHeadDim / 2 != kPair) continue;
    char* values = file->data() + (tensor.data.data() - start) + row * tensor.columns() * 2;
    for (int64_t c = 0; c < tensor.columns(); ++c) {
      uint16_t x;
      std::memcpy(&x, values + 2 * c, 2);
      x = f32_to_f16(f16_to_f32(x) * factor);
      std::memcpy(values + 2 * c, &x, 2);
    }
  }
}

// A temporary file, gone with the object.
struct OutlierCopy {
  OutlierCopy()
      : path(std::filesystem::temp_directory_path() /
             ("kvkeep-outliers-" + std::to_string(::getpid()) + ".gguf")) {
    std::string bytes = *read_file(kEmbedded);
    const std::string original = bytes;
    const auto* start = reinterpret_cast<const std::byte*>(original.data());
    const Gguf gguf = *Gguf::parse({start, original.size()}, "embedded");
    for (const Tensor& tensor : gguf.tensors()) {
      if (tensor.name.ends_with("attn_k.weight")) scale_rows(tensor, &bytes, start, 8.0f);
      if (tensor.name.ends_with("attn_q.weight")) scale_rows(tensor, &bytes, start, 0.125f);
    }
    std::ofstream(path, std::ios::binary) << bytes;
  }
  ~OutlierCopy() { std::filesystem::remove(path); }
  std::filesystem::path path;
};

using Rows = std::vector<std::vector<float>>;

// Logits of 150 steps after a prompt of 450 tokens.
Rows predictions(const Model& model, const std::string& plan) {
  auto tokens = model.encode(*read_file(KVKEEP_SOURCE_DIR "/LICENSE"), true);
  tokens.resize(600);
  Session s = *Session::create(model, *Plan::parse(plan), {2, 0});
  EXPECT_TRUE(s.prefill(std::span(tokens).first(450)));
  Rows rows;
  for (size_t i = 450; i < tokens.size(); ++i) {
    EXPECT_TRUE(s.step(tokens[i]));
    rows.emplace_back(s.logits().begin(), s.logits().end());
  }
  return rows;
}

double log_sum(const std::vector<float>& row) {
  const double top = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (float x : row) sum += std::exp(x - top);
  return top + std::log(sum);
}

double divergence(const Rows& reference, const Rows& rows) {
  double total = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const double a = log_sum(reference[i]), b = log_sum(rows[i]);
    for (size_t v = 0; v < rows[i].size(); ++v)
      total += std::exp(reference[i][v] - a) * ((reference[i][v] - a) - (rows[i][v] - b));
  }
  return total / static_cast<double>(rows.size());
}

TEST(Outliers, TheBalancerUndoesThemWithoutItTheyCostTenfold) {
  const OutlierCopy copy;
  const Model plain = *Model::load(kEmbedded), outliers = *Model::load(copy.path.string());
  const Rows reference = predictions(plain, "f16");
  const double same = divergence(reference, predictions(outliers, "f16"));
  const double plain_without = divergence(reference, predictions(plain, "mikv-h2o"));
  const double plain_with = divergence(reference, predictions(plain, "mikv-b"));
  const double without = divergence(reference, predictions(outliers, "mikv-h2o"));
  const double with = divergence(reference, predictions(outliers, "mikv-b"));
  RecordProperty("kl", fmt::format("f16 {:.6f}; plain: mikv-h2o {:.4f}, mikv-b {:.4f}; outliers: "
                                   "mikv-h2o {:.4f}, mikv-b {:.4f}",
                                   same, plain_without, plain_with, without, with));
  EXPECT_LT(same, 1e-5) << "the copy is the same function";
  EXPECT_NEAR(with / plain_with, 1.0, 0.02);
  EXPECT_GT(without, 10 * with);
}

}  // namespace
}  // namespace kvkeep
