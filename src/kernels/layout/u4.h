// 4 bits: two units share 64 bytes, the even one in the low nibbles.
#pragma once

#include "kernels/layout/codes.h"

namespace kvkeep::KVKEEP_TARGET {

template <>
struct Codes<4> : PlainCodes<4> {};

}  // namespace kvkeep::KVKEEP_TARGET
