// What these programs share with `kvkeep bench`.
#pragma once

#include "eval/bench/measure.h"
