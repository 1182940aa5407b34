// One rung of the ladder of precisions: how the rows of a tier are stored.
#pragma once

#include "kernels/layout.h"

namespace kvkeep {

struct Level {
  PartShape k, v;
  bool coded = false;   // quantized, in the transformed basis; else exact f16
  bool scored = false;  // stores a score per slot
};

}  // namespace kvkeep
