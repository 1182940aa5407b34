#include "engine/calibrate.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "codec/chunk.h"
#include "codec/ridge.h"
#include "engine/compressed_attention.h"
#include "engine/find_calibration.h"
#include "kernels/isa.h"
#include "model/transformer.h"

namespace kvkeep {
namespace {

constexpr double kRidge = 1e-3;  // of the mean variance of the inputs
constexpr int kSkipped = 4;      // first tokens of a window: sinks are never coded
constexpr int kPeriod = 16;      // windows, of which the last two are held out: prose and record
constexpr int kItemRows = 128;

// Rows of one layer: [rows][width] each.
struct LayerRows {
  std::vector<float> keys, values;
};

// Exact attention that hands out the rows of layers first .. last-1 and ends the pass after them.
class Capture : public AttentionSite {
 public:
  Capture(CompressedAttention* exact, const Rope* rope, int first, std::vector<LayerRows>* rows)
      : exact_(exact), rope_(rope), first_(first), rows_(rows) {}

  Result<void> attend(const AttentionCall& call) override {
    const AttentionShape& shape = exact_->shape();
    const int layer = call.layer - first_;
    if (layer >= 0) {
      LayerRows& to = (*rows_)[static_cast<size_t>(layer)];
      const ptrdiff_t width = shape.kv_heads * shape.head_dim;
      for (int t = std::max(0, kSkipped - call.first_position); t < call.tokens; ++t) {
        const size_t at = to.keys.size();
        to.keys.insert(to.keys.end(), call.k + t * width, call.k + (t + 1) * width);
        to.values.insert(to.values.end(), call.v + t * width, call.v + (t + 1) * width);
        for (int head = 0; head < shape.kv_heads; ++head)
          rope_->apply(to.keys.data() + at + static_cast<size_t>(head * shape.head_dim),
                       call.first_position + t, -1);
      }
    }
    if (layer + 1 == static_cast<int>(rows_->size())) return cancelled();
    return exact_->attend(call);
  }

 private:
  CompressedAttention* exact_;
  const Rope* rope_;
  int first_;
  std::vector<LayerRows>* rows_;
};

class Calibrator {
 public:
  Calibrator(const CalibrateInput& in, const ProgressFn& progress, ChunkQuantizers quantizers,
             Calibration made)
      : in_(in),
        progress_(progress),
        config_(in.model.transformer()->config()),
        rope_(config_.rope),
        pool_(in.threads ? in.threads : hardware_threads()),
        quantizers_(std::move(quantizers)),
        made_(std::move(made)) {
    for (size_t i = 0; i < in_.windows.size(); ++i) {
      const bool out = i % kPeriod >= kPeriod - 2;
      const size_t n = in_.windows[i].size();
      for (size_t t = kSkipped; t < n; ++t) held_out_.push_back(out);
    }
  }

  Result<Calibration> run() {
    const int layers = config_.layers;
    const size_t row_bytes = 2 * static_cast<size_t>(config_.kv_dim()) * sizeof(float);
    const size_t fitting = in_.most_bytes / (row_bytes * held_out_.size() + 1);
    const int step = std::clamp(static_cast<int>(std::min<size_t>(fitting, 4096)), 1, layers);
    const double passes = (layers + step - 1) / step;
    for (int first = 0; first < layers; first += step) {
      std::vector<LayerRows> rows(static_cast<size_t>(std::min(step, layers - first)));
      KVKEEP_TRY(read_text(first, &rows, first / step, passes));
      for (size_t i = 0; i < rows.size(); ++i)
        KVKEEP_TRY(fit_layer(first + static_cast<int>(i), &rows[i]));
    }
    made_.tokens = std::count(held_out_.begin(), held_out_.end(), false);
    return std::move(made_);
  }

 private:
  Result<void> read_text(int first, std::vector<LayerRows>* rows, int pass, double passes) {
    const auto scratch = in_.model.transformer()->make_scratch();
    const Plan exact = *Plan::parse("f16");
    const auto all = static_cast<double>(in_.windows.size());
    for (size_t w = 0; w < in_.windows.size(); ++w) {
      const std::span<const int32_t> window(in_.windows[w]);
      auto site = CompressedAttention::make(exact, config_.attention_shape(), config_.rope,
                                            static_cast<int>(window.size()), &pool_);
      if (!site) return tl::unexpected(site.error());
      Capture capture(site->get(), &rope_, first, rows);
      for (size_t done = 0; done < window.size();) {
        const size_t n = std::min<size_t>(Transformer::kSliceTokens, window.size() - done);
        const auto read =
            in_.model.transformer()->forward(window.subspan(done, n), static_cast<int>(done),
                                             capture, pool_, *scratch, nullptr, false);
        if (!read && read.error().code != ErrorCode::cancelled) return read;
        done += n;
      }
      const double seen = (pass + static_cast<double>(w + 1) / all) / passes;
      if (progress_ && !progress_(seen, 1.0)) return cancelled();
    }
    return {};
  }

  Result<void> fit_layer(int layer, LayerRows* rows) {
    below_.keys.resize(rows->keys.size());
    below_.values.resize(rows->values.size());
    for (const Side side : {Side::key, Side::value}) {
      std::vector<float>* own = side == Side::key ? &rows->keys : &rows->values;
      std::vector<const float*> sources;
      for (const Source source : made_.form().sources(layer, side))
        sources.push_back(source == Source::key         ? rows->keys.data()
                          : source == Source::key_below ? below_.keys.data()
                                                        : below_.values.data());
      made_.set_map(layer, side, fit_map(layer, side, sources, *own));
      KVKEEP_TRY(reconstruct(layer, side, sources, own));
    }
    std::swap(below_, *rows);
    return {};
  }

  AffineMap fit_map(int layer, Side side, const std::vector<const float*>& sources,
                    const std::vector<float>& target) const {
    const MapShape shape = made_.form().shape(layer, side, config_.kv_heads, config_.head_dim);
    const auto width = static_cast<size_t>(shape.width), n = sources.size();
    Ridge ridge(static_cast<int>(n * width), shape.width);
    std::vector<float> x(kItemRows * n * width), y(kItemRows * width);
    size_t count = 0;
    const auto flush = [&] {
      ridge.add(x.data(), y.data(), static_cast<int>(count));
      count = 0;
    };
    for (size_t row = 0; row < held_out_.size(); ++row) {
      if (held_out_[row]) continue;
      for (size_t s = 0; s < n; ++s)
        std::copy_n(sources[s] + row * width, width, x.data() + (count * n + s) * width);
      std::copy_n(target.data() + row * width, width, y.data() + count * width);
      if (++count == kItemRows) flush();
    }
    flush();
    const RidgeMap map = ridge.solve(kRidge, shape.rank, shape.heads);
    return AffineMap(shape, map.weights, map.bias);
  }

  // Rows become what the decoder will have; what the prediction left of them is noted.
  // Layer 0 stays exact where it is read from tokens.
  Result<void> reconstruct(int layer, Side side, const std::vector<const float*>& sources,
                           std::vector<float>* rows) {
    if (layer == 0 && quantizers_.from_tokens) {
      made_.explained(layer, side) = {1.0f, 0.0f};
      return {};
    }
    const AffineMap& map = made_.map(layer, side);
    const auto width = static_cast<size_t>(config_.kv_dim());
    std::vector<float> weights(map.shape().unpacked_floats()), residual(rows->size());
    map.unpack(weights);
    const Higgs& quantizer = quantizers_.of(layer, side);
    const size_t items = (held_out_.size() + kItemRows - 1) / kItemRows;
    std::vector<Result<void>> results(items);
    std::vector<float> truth(*rows);
    pool_.run(static_cast<int64_t>(items), [&](int64_t item, int) {
      const size_t first = static_cast<size_t>(item) * kItemRows;
      const size_t n = std::min<size_t>(kItemRows, held_out_.size() - first), at = first * width;
      std::vector<const float*> from;
      for (const float* source : sources) from.push_back(source + at);
      std::vector<float> predicted(n * width);
      std::vector<std::byte> codes(n * quantizer.row_bytes());
      map.apply(weights, from, static_cast<int>(n), predicted.data());
      float* own = residual.data() + at;
      for (size_t i = 0; i < predicted.size(); ++i) own[i] = truth[at + i] - predicted[i];
      auto& result = results[static_cast<size_t>(item)];
      float* decoded = rows->data() + at;
      if (quantizers_.codes(layer, side)) {
        result = quantizer.encode(own, static_cast<int>(n), codes.data());
        if (!result) return;
        quantizer.decode(codes.data(), static_cast<int>(n), decoded);
      } else {
        std::fill_n(decoded, predicted.size(), 0.0f);
      }
      for (size_t i = 0; i < predicted.size(); ++i) decoded[i] += predicted[i];
    });
    for (auto& result : results) KVKEEP_TRY(result);
    made_.explained(layer, side) = explain(truth, residual, width);
    return {};
  }

  Explained explain(const std::vector<float>& truth, const std::vector<float>& residual,
                    size_t width) const {
    double power = 0, left = 0, around = 0;
    for (size_t c = 0; c < width; ++c) {
      double n = 0, sum = 0, square = 0;
      for (size_t row = 0; row < held_out_.size(); ++row) {
        if (!held_out_[row]) continue;
        const double x = truth[row * width + c], r = residual[row * width + c];
        n += 1;
        sum += x;
        square += x * x;
        left += r * r;
      }
      power += square;
      around += square - sum * sum / std::max(n, 1.0);
    }
    return {static_cast<float>(around > 0 ? 1 - left / around : 0),
            static_cast<float>(power > 0 ? left / power : 0)};
  }

  const CalibrateInput& in_;
  const ProgressFn& progress_;
  const ModelConfig& config_;
  Rope rope_;
  ThreadPool pool_;
  ChunkQuantizers quantizers_;
  Calibration made_;
  std::vector<bool> held_out_;  // [rows]
  LayerRows below_;             // as decoded
};

}  // namespace

Result<Calibration> calibrate(const CalibrateInput& in, const ProgressFn& progress) {
  if (auto table = select_kernels(); !table) return tl::unexpected(table.error());
  const CalibrationKey key = calibration_key(in.model, in.plan);
  const PredictorForm form = make_predictor(in.plan.slot("predictor"));
  if (in.plan.slot("low").method != "chunk" || !form.calibrated())
    return bad_input("plan '{}' needs no calibration; allowed: plans of chunks with a predictor",
                     in.plan.typed());
  if (in.windows.size() < kPeriod)
    return bad_input("calibration needs at least {} windows of text, found {}", kPeriod,
                     in.windows.size());
  for (const auto& window : in.windows)
    if (window.size() < 2 * kSkipped)
      return bad_input("calibration needs windows of at least {} tokens, found {}", 2 * kSkipped,
                       window.size());
  auto quantizers = ChunkQuantizers::make(*Plan::parse(key.plan), key.kv_heads * key.head_dim);
  if (!quantizers) return tl::unexpected(quantizers.error());
  return Calibrator(in, progress, *std::move(quantizers), Calibration(key, form)).run();
}

}  // namespace kvkeep
