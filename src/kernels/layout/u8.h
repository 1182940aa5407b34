// 8 bits: a unit is 64 bytes, one code a byte.
#pragma once

#include "kernels/layout/codes.h"

namespace kvkeep::KVKEEP_TARGET {

template <>
struct Codes<8> : PlainCodes<8> {};

}  // namespace kvkeep::KVKEEP_TARGET
