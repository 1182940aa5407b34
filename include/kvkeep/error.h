// Errors as values: every call of the public API that can fail returns Result<T>.
//
// An Error is one line that says what is wrong, where, and what is allowed; the library never
// prints and never exits. The code tells the caller who can mend it (and the CLI its exit code).
#pragma once

#include <string>
#include <tl/expected.hpp>

namespace kvkeep {

enum class ErrorCode {
  bad_input,  // the user or a file: exit code 2
  failed,     // the machine: out of memory, disk full, NaN in the model: exit code 1
  cancelled,  // the caller's progress callback said stop
};

struct Error {
  ErrorCode code = ErrorCode::failed;
  std::string message;  // one line, no trailing full stop or newline
};

template <class T>
using Result = tl::expected<T, Error>;

}  // namespace kvkeep
