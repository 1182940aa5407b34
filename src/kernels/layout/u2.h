// 2 bits: four units share 64 bytes, unit 4i+j in bits 2j and 2j+1.
#pragma once

#include "kernels/layout/codes.h"

namespace kvkeep::KVKEEP_TARGET {

template <>
struct Codes<2> : PlainCodes<2> {};

}  // namespace kvkeep::KVKEEP_TARGET
