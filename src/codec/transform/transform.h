// Changes of basis applied to rows before they are quantized, and to the query and the output when
// they are read, so that attention sees the original rows again.
//
//   write:  row' = forward(row)                      read a row:  inverse(row')
//   attend: q . k = query(q) . k' + bias(q, position)    out = inverse_value(sum of p * v')
//
// Both ways must agree up to float32 rounding. A plan chains transforms: forward in order, inverse
// in reverse, with ascending order(). A method is one .cc file and one row in methods.inc. Const
// members may be called from several threads; fit() is called once per (layer, kv_head), before its
// first row is coded. Rows coded later may be given other state by refit(), see codec/transforms.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "codec/head_index.h"
#include "codec/registry.h"
#include "kernels/rope.h"
#include "kvkeep/plan.h"

namespace kvkeep {

struct TransformContext {
  int layers = 0, kv_heads = 0, head_dim = 0;
  int context = 0;  // positions are in [0, context)
  RopeConfig rope;
  int gqa_ratio = 1;
};

// What a transform may learn from: before it codes its first row, from all rows of the prompt;
// later from the newest rows above the low tier.
struct FitInput {
  std::span<const float>
      keys;  // [n][head_dim], as the transforms before it in the chain leave them
  std::span<const int32_t> positions;  // [n]
  std::span<const float> queries;      // [head_dim], as the transform sums them up
  int tokens = 0;                      // seen so far
};

// What is kept of the queries of a head's group, channel by channel, since the last fit.
enum class QuerySummary { none, largest, squares };  // largest |q|; sum of q^2

// Whether rows that are coded later may get other state: where the plan's tiers can do it, or the
// plan asks for it and is refused where they cannot.
enum class Refits { never, where_possible, asked };

class Transform {
 public:
  virtual ~Transform() = default;

  // Place in a chain, ascending: 0 shifts rows (adds a bias to logits), 1 scales channels, 2
  // rotates.
  virtual int order() const = 0;
  virtual bool needs_fit() const { return false; }
  virtual QuerySummary query_summary() const { return QuerySummary::none; }
  virtual void fit(HeadIndex, const FitInput&) {}

  virtual Refits refits() const { return Refits::never; }
  // May refit() find anything after `tokens` tokens?
  virtual bool may_refit(HeadIndex, int /*tokens*/) const { return false; }
  // What the head's rows from now on are transformed with: nullopt = the same as before, nullptr =
  // nothing. Rows coded before keep this transform.
  virtual std::optional<std::shared_ptr<Transform>> refit(HeadIndex, const FitInput&) const {
    return std::nullopt;
  }

  virtual void forward_key(HeadIndex head, float* key, int position) const = 0;
  virtual void inverse_key(HeadIndex head, float* key, int position) const = 0;
  virtual void forward_value(float*) const {}
  // Undoes forward_value on `rows` values or outputs, [rows][stride]; it is linear.
  virtual void inverse_value(float*, int /*rows*/, int /*stride*/) const {}

  // In place, q [rows][stride] of the head's group.
  virtual void query(HeadIndex, float*, int /*rows*/, int /*stride*/) const {}
  // logits[t] += bias(q, positions[t]); q is one row as it was before query().
  virtual void bias(HeadIndex, const float*, std::span<const int32_t>, float*) const {}
  virtual bool has_bias() const { return false; }

  // The same state for a forked sequence.
  virtual std::unique_ptr<Transform> clone() const = 0;

  virtual size_t state_bytes() const { return 0; }   // of this sequence
  virtual size_t shared_bytes() const { return 0; }  // the same for all sequences of a model
};

#define KVKEEP_TRANSFORM(name, ...) \
  std::unique_ptr<Transform> make_transform_##name(const Plan::Slot&, const TransformContext&);
#include "codec/transform/methods.inc"
#undef KVKEEP_TRANSFORM

// The transform a slot names; nullptr for "none".
std::unique_ptr<Transform> make_transform(const Plan::Slot& slot, const TransformContext& context);

}  // namespace kvkeep
