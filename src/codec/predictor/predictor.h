// What a layer's keys and values are predicted from, so that only the residual is coded. Adjacent
// layers say much the same of a token (AQUA-KV, Shutova et al. 2025, arXiv 2501.19392), and a
// token's key says much of its value.
//
// A prediction is an affine map of rows that are already decoded: keys before RoPE and values, all
// kv_heads of a token joined to one row. A method says which rows, and what form the map has; the
// maps themselves are calibrated (codec/calibration.h). Layer 0 has nothing below it.
#pragma once

#include <cstdint>
#include <vector>

#include "codec/affine_map.h"
#include "codec/crush.h"
#include "codec/registry.h"
#include "kernels/layout.h"
#include "kvkeep/plan.h"

namespace kvkeep {

enum class Source : uint8_t { key_below, value_below, key };  // of the layer below; of this layer

struct PredictorForm {
  bool constant = true;  // a constant vector for each layer; without it nothing is predicted
  std::vector<Source> key = {}, value = {};  // sources, in the order in which they are summed
  int rank = 0, bits = 16;
  bool per_head = false;
  CrushForm crush = {};  // of what is left, in every chunk by itself

  bool calibrated() const { return constant || !key.empty() || !value.empty(); }
  std::vector<Source> sources(int layer, Side side) const;
  MapShape shape(int layer, Side side, int kv_heads, int head_dim) const;
};

#define KVKEEP_PREDICTOR(name, ...) PredictorForm make_predictor_##name(const Plan::Slot& slot);
#include "codec/predictor/methods.inc"
#undef KVKEEP_PREDICTOR

// The form that a plan's slot names.
PredictorForm make_predictor(const Plan::Slot& slot);

}  // namespace kvkeep
