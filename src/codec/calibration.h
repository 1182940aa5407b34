// The maps of a predictor, fitted to one model and one quantizer, and the file that carries them.
//
//   file = magic, model fingerprint, plan key, layers, kv_heads, head_dim, tokens,
//          [layers][K, V] {explained, residual}, [layers][K, V] map, XXH64 of all before
//
// Maps are trained on rows as the quantizer gives them back, so a file is for one predictor and
// one quantizer; how many rows make a chunk, windows and budgets are not its business. A file that
// is damaged, or for another model or plan, is refused with one line.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "codec/affine_map.h"
#include "codec/predictor/predictor.h"
#include "kvkeep/error.h"
#include "kvkeep/plan.h"

namespace kvkeep {

// What a prediction left of a target on text that it was not fitted to.
struct Explained {
  float variance = 0;  // share of the variance that is explained: 1 - residual / variance
  float residual = 1;  // power of the residual / power of the target
};

struct CalibrationKey {
  uint64_t model = 0;  // fingerprint
  std::string plan;    // calibration_plan()
  int layers = 0, kv_heads = 0, head_dim = 0;

  bool operator==(const CalibrationKey&) const = default;
};

// The slots a calibration depends on: "predictor=...;low=chunk:..." without the rows of a chunk,
// the share of fine ones and who may stand for whom, with the scale at which all are fitted.
std::string calibration_plan(const Plan& plan);

class Calibration {
 public:
  Calibration(CalibrationKey key, const PredictorForm& form);

  // path is for messages.
  static Result<Calibration> parse(std::string_view bytes, const std::string& path);
  // The key alone, of a file whose rest may be damaged; for a search.
  static Result<CalibrationKey> parse_key(std::string_view bytes, const std::string& path);
  std::string bytes() const;

  const CalibrationKey& key() const { return key_; }
  const PredictorForm& form() const { return form_; }
  const AffineMap& map(int layer, Side side) const { return maps_[index(layer, side)]; }
  void set_map(int layer, Side side, AffineMap map) { maps_[index(layer, side)] = std::move(map); }
  Explained& explained(int layer, Side side) { return explained_[index(layer, side)]; }
  const Explained& explained(int layer, Side side) const { return explained_[index(layer, side)]; }
  int64_t tokens = 0;  // it was fitted to

  size_t resident_bytes() const;  // shared by all sequences that use it

 private:
  static size_t index(int layer, Side side) {
    return static_cast<size_t>(2 * layer + (side == Side::value));
  }

  CalibrationKey key_;
  PredictorForm form_;
  std::vector<AffineMap> maps_;       // [layers][K, V]
  std::vector<Explained> explained_;  // the same
};

}  // namespace kvkeep
