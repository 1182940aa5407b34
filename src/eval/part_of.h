// Progress of one call as part of a longer run of many calls.
#pragma once

#include "kvkeep/progress.h"

namespace kvkeep {

// What the call has done, counted from `base`, of `total`; `progress` must outlive the result.
inline ProgressFn part_of(const ProgressFn& progress, double base, double total) {
  if (!progress) return {};
  return [&progress, base, total](double done, double) { return progress(base + done, total); };
}

// The same where the whole call counts as `weight` units of the run.
inline ProgressFn unit_of(const ProgressFn& progress, double base, double total,
                          double weight = 1) {
  if (!progress) return {};
  return [=, &progress](double done, double all) {
    return progress(base + (all > 0 ? weight * done / all : 0), total);
  };
}

}  // namespace kvkeep
