// How the text tasks read: windows of a text, in steps on a compressed cache.
//
// The text is cut into windows of `context` tokens. Of each window the first quarter is prefilled
// exactly, then the cache is compressed, and the rest is fed in steps of `step` tokens with a
// compression after each: a token sees compressed history and exact neighbours. The rest is scored.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "eval/task.h"

namespace kvkeep {

using Windows = std::vector<std::vector<int32_t>>;

// Windows one after another, each with its BOS if asked for; the name is for errors.
Result<Windows> cut_windows(const TaskInput& in, const std::string& task);

// What was read so far.
struct Reading {
  double seconds = 0;  // feeding and compressing
  int64_t tokens = 0;  // scored
  CacheReport cache;   // at the end of the last window

  void add(const Reading& other);
};

// Called for each scored token, in order, with the logits that predicted it.
using SeeToken = std::function<void(std::span<const float> logits, int32_t token)>;

Result<Reading> read_window(const TaskInput& in, const Plan& plan, std::span<const int32_t> window,
                            const SeeToken& see, const ProgressFn& progress);

// Means over stretches of 256 scored tokens of a window, the last up to twice as long: what
// intervals draw, because neighbours share the history that was compressed.
std::vector<double> stretch_means(std::span<const float> of_tokens);

EvalRow text_row(const TaskInput& in, const std::string& task, const Reading& reading, int windows,
                 std::vector<Metric> metrics);

}  // namespace kvkeep
