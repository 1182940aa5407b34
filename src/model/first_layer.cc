#include "model/first_layer.h"

#include <algorithm>
#include <cmath>

#include "kernels/isa.h"
#include "model/transformer_impl.h"

namespace kvkeep {
namespace {

// x becomes x / rms(x) * weight, each sum in double and in order.
void rms_norm_in_order(float* x, const std::vector<float>& weight, float eps) {
  double sum = 0;
  for (size_t i = 0; i < weight.size(); ++i) sum += double{x[i]} * x[i];
  const auto factor =
      static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(weight.size()) + double{eps}));
  for (size_t i = 0; i < weight.size(); ++i) x[i] = x[i] * factor * weight[i];
}

void transpose(const Matrix& matrix, std::vector<float>* out) {
  const auto rows = static_cast<size_t>(matrix.rows), columns = static_cast<size_t>(matrix.columns);
  std::vector<float> row(columns);
  out->resize(rows * columns);
  for (size_t i = 0; i < rows; ++i) {
    read_row(matrix, static_cast<int64_t>(i), kernels(), row.data());
    for (size_t j = 0; j < columns; ++j) (*out)[j * rows + i] = row[j];
  }
}

void fill(const std::vector<float>& bias, int rows, int width, float* out) {
  for (int r = 0; r < rows; ++r, out += width) {
    if (bias.empty())
      std::fill_n(out, width, 0.0f);
    else
      std::copy(bias.begin(), bias.end(), out);
  }
}

}  // namespace

FirstLayer::FirstLayer(std::shared_ptr<const Transformer> model) : model_(std::move(model)) {}

void FirstLayer::unpack(std::vector<float>* key, std::vector<float>* value) const {
  transpose(model_->impl_->weights.layers[0].k, key);
  transpose(model_->impl_->weights.layers[0].v, value);
}

void FirstLayer::read(std::span<const int32_t> tokens, std::span<const float> key,
                      std::span<const float> value, float* keys, float* values) const {
  const Weights& weights = model_->impl_->weights;
  const LayerWeights& layer = weights.layers[0];
  const ModelConfig& config = model_->config();
  const int dim = config.dim, width = config.kv_dim(), count = static_cast<int>(tokens.size());
  std::vector<float> x(tokens.size() * static_cast<size_t>(dim));
  float* row = x.data();
  for (const int32_t token : tokens) {
    read_row(weights.embedding, token, kernels(), row);
    rms_norm_in_order(row, layer.attention_norm, config.norm_eps);
    row += dim;
  }
  fill(layer.k_bias, count, width, keys);
  fill(layer.v_bias, count, width, values);
  kernels().add_products(x.data(), dim, count, key.data(), dim, width, keys, width);
  kernels().add_products(x.data(), dim, count, value.data(), dim, width, values, width);
  if (layer.k_norm.empty()) return;
  for (int head = 0; head < count * config.kv_heads; ++head, keys += config.head_dim)
    rms_norm_in_order(keys, layer.k_norm, config.norm_eps);
}

}  // namespace kvkeep
