// One-line constructors for Error, and the early return that passes an Error on.
#pragma once

#include <fmt/format.h>

#include <utility>

#include "kvkeep/error.h"

namespace kvkeep {

template <class... A>
tl::unexpected<Error> bad_input(fmt::format_string<A...> format, A&&... args) {
  return tl::unexpected(Error{ErrorCode::bad_input, fmt::format(format, std::forward<A>(args)...)});
}

template <class... A>
tl::unexpected<Error> failed(fmt::format_string<A...> format, A&&... args) {
  return tl::unexpected(Error{ErrorCode::failed, fmt::format(format, std::forward<A>(args)...)});
}

inline tl::unexpected<Error> cancelled() {
  return tl::unexpected(Error{ErrorCode::cancelled, "stopped"});
}

}  // namespace kvkeep

// Returns the error of `expr` (a Result) from the enclosing function, if it holds one.
#define KVKEEP_TRY(expr)                                        \
  do {                                                          \
    if (auto kvkeep_result_ = (expr); !kvkeep_result_)          \
      return tl::unexpected(std::move(kvkeep_result_).error()); \
  } while (false)
