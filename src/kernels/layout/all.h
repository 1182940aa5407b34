// Every width a row of layouts.inc may name.
#pragma once

#include "kernels/layout/codebook.h"
#include "kernels/layout/f16.h"
#include "kernels/layout/u2.h"
#include "kernels/layout/u3.h"
#include "kernels/layout/u4.h"
#include "kernels/layout/u5.h"
#include "kernels/layout/u8.h"
