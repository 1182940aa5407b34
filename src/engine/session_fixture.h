// For tests of sessions: the embedded model and tokens to feed it.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/rng.h"
#include "kvkeep/session.h"

namespace kvkeep {

inline const Model& embedded() {
  static const Model model = *Model::load(KVKEEP_SOURCE_DIR "/models/kvkeep-5m-f16.gguf");
  return model;
}

inline std::vector<int32_t> some_tokens(int n, uint64_t seed = 1) {
  Rng rng(seed);
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  for (auto& token : tokens) token = static_cast<int32_t>(rng.below(2000));
  return tokens;
}

inline Session session(const std::string& plan, int threads = 1) {
  auto made = Session::create(embedded(), *Plan::parse(plan), {threads, 0});
  EXPECT_TRUE(made) << made.error().message;
  return *std::move(made);
}

}  // namespace kvkeep
