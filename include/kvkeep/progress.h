// Long calls report how far they are and can be stopped: the caller passes a ProgressFn, the
// library prints nothing itself.
#pragma once

#include <functional>

namespace kvkeep {

// done and total in the same unit (tokens, windows); returning false asks the call to stop, which
// it does cleanly with what it has. May be empty. Called from the thread that made the call.
using ProgressFn = std::function<bool(double done, double total)>;

}  // namespace kvkeep
