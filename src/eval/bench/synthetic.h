// Caches of made-up rows, for measurements that need the memory and not the meaning.
//
// A few blocks are made honestly, random rows through the pipeline, and then copied: what a kernel
// does with a block does not depend on its codes.
#pragma once

#include <memory>
#include <string>

#include "codec/pipeline.h"

namespace kvkeep::bench {

struct LayoutPair {
  Layout k, v;

  bool exact() const { return k.id == LayoutId::f16; }
  std::string name() const;  // "u4", "u4/u2"
  bool operator==(const LayoutPair&) const = default;
};

// "f16", "u4", "u4g32", "u4/u2" (keys/values). f16 stands on both sides or on none, because the
// exact tier is the only one that holds it.
Result<LayoutPair> parse_layout_pair(const std::string& text);

// The plan that stores every row but the newest in these layouts. attend: a method of the plan's
// slot `attend`, or empty for its default; window: newest rows that stay as well.
Result<Plan> plan_of(const LayoutPair& layouts, const std::string& attend = "", int window = 0);

struct SyntheticShape {
  int layers = 1, kv_heads = 8, head_dim = 128, tokens = 0, gqa_ratio = 1;
};

// One row's worth of normal numbers, the same for the same seed.
std::vector<float> random_rows(size_t count, int head_dim, uint64_t seed);

class SyntheticCache {
 public:
  // Where the plan compresses, all rows lie in the last level but the newest, which is exact.
  static Result<std::unique_ptr<SyntheticCache>> make(const Plan& plan,
                                                      const SyntheticShape& shape);
  // The same, but all rows in level 0, as a prompt that has just been read.
  static Result<std::unique_ptr<SyntheticCache>> make_exact(const Plan& plan,
                                                            const SyntheticShape& shape);

  Pipeline& pipeline() { return pipeline_; }
  const Pipeline& pipeline() const { return pipeline_; }
  Sequence& cache() { return cache_; }
  const Sequence& cache() const { return cache_; }
  const SyntheticShape& shape() const { return shape_; }
  size_t part_bytes() const { return cache_.usage().parts; }  // of keys and values

 private:
  SyntheticCache(Pipeline pipeline, const SyntheticShape& shape)
      : pipeline_(std::move(pipeline)),
        cache_(shape.layers, shape.kv_heads, pipeline_.tier_shapes()),
        shape_(shape) {}
  static Result<std::unique_ptr<SyntheticCache>> make_filled(const Plan& plan,
                                                             const SyntheticShape& shape,
                                                             bool compressed);

  Pipeline pipeline_;
  Sequence cache_;
  SyntheticShape shape_;
};

// Bytes of keys and values that one token of one kv_head takes in these layouts.
double token_bytes(const LayoutPair& layouts, int head_dim);

}  // namespace kvkeep::bench
