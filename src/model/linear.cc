#include "model/linear.h"

#include <algorithm>

#include "base/check.h"
#include "base/half.h"
#include "kernels/gemm.h"

namespace kvkeep {
namespace {

constexpr int64_t kPanelRows = 64;          // 128 is 4 % faster on one core, but leaves others idle
constexpr int64_t kGemvItemValues = 32768;  // about 64 KiB of 16-bit weights
constexpr int64_t kMinGemvRows = 16, kMaxGemvRows = 256;

struct Job {
  std::span<const Product> products;
  const float* x;
  int tokens;
  bool gemv;
  int64_t item_rows;
  const KernelTable* kernels;
  LinearScratch* scratch;
};

int64_t items_of(const Job& job, const Product& product) {
  return (product.weights->rows + job.item_rows - 1) / job.item_rows;
}

GemvFn gemv_of(const KernelTable& kernels, TensorType type) {
  if (type == TensorType::f16) return kernels.gemv_f16;
  return type == TensorType::bf16 ? kernels.gemv_bf16 : kernels.gemv_q8_0;
}

void gemv_rows(const Job& job, const Product& product, int64_t first, int64_t count) {
  const Matrix& w = *product.weights;
  const GemvFn gemv = gemv_of(*job.kernels, w.type);
  for (int t = 0; t < job.tokens; ++t)
    gemv(w.row(first), job.x + t * w.columns, product.out + t * product.stride + first, count,
         w.columns);
}

void gemm_rows(const Job& job, const Product& product, int64_t first, int64_t count, int worker) {
  const Matrix& w = *product.weights;
  float* panel = job.scratch->panels.data() + worker * job.scratch->panel_floats;
  for (int64_t i = 0; i < count; ++i) read_row(w, first + i, *job.kernels, panel + i * w.columns);
  const int columns = static_cast<int>(w.columns);
  gemm_nt(job.tokens, static_cast<int>(count), columns, 1.0f, job.x, columns, panel, columns, 0.0f,
          product.out + first, static_cast<int>(product.stride));
}

void run_item(const Job& job, int64_t item, int worker) {
  const Product* product = job.products.data();
  for (; item >= items_of(job, *product); ++product) item -= items_of(job, *product);
  const int64_t first = item * job.item_rows;
  const int64_t count = std::min(job.item_rows, product->weights->rows - first);
  if (job.gemv)
    gemv_rows(job, *product, first, count);
  else
    gemm_rows(job, *product, first, count, worker);
  if (product->bias.empty()) return;
  for (int t = 0; t < job.tokens; ++t) {
    float* out = product->out + t * product->stride + first;
    for (int64_t i = 0; i < count; ++i) out[i] += product->bias[static_cast<size_t>(first + i)];
  }
}

}  // namespace

int64_t panel_floats(int64_t columns) { return kPanelRows * columns; }

void multiply(std::span<const Product> products, const float* x, int tokens,
              const KernelTable& kernels, ThreadPool& pool, LinearScratch& scratch, bool by_row) {
  const int64_t columns = products.front().weights->columns;
  const bool gemv = by_row || tokens <= kGemvTokens;
  Job job{products, x, tokens, gemv, kPanelRows, &kernels, &scratch};
  if (gemv)
    job.item_rows = std::clamp(kGemvItemValues / columns, kMinGemvRows, kMaxGemvRows);
  else
    scratch.panels.resize(static_cast<size_t>(pool.size() * scratch.panel_floats));
  int64_t items = 0;
  for (const Product& product : products) {
    KVKEEP_CHECK(product.weights->columns == columns, "{} and {} columns", columns,
                 product.weights->columns);
    items += items_of(job, product);
  }
  pool.run(items, [&job](int64_t item, int worker) { run_item(job, item, worker); });
}

void read_row(const Matrix& matrix, int64_t row, const KernelTable& kernels, float* out) {
  const std::byte* data = matrix.row(row);
  const auto* words = reinterpret_cast<const uint16_t*>(data);
  if (matrix.type == TensorType::f16) return kernels.f16_to_f32(words, out, matrix.columns);
  if (matrix.type == TensorType::q8_0) return dequantize(matrix.type, data, out, matrix.columns);
  for (int64_t i = 0; i < matrix.columns; ++i) out[i] = bf16_to_f32(words[i]);
}

}  // namespace kvkeep
