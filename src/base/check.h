// KVKEEP_CHECK(condition, format, ...): a broken invariant of our own ends the program with the
// values that broke it. Never for data or user errors: those are Error values (fail.h).
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace kvkeep {

[[noreturn]] inline void check_failed(const char* file, int line, const char* condition,
                                      const std::string& values) {
  std::fprintf(stderr, "%s:%d: check failed: %s (%s)\n", file, line, condition, values.c_str());
  std::abort();
}

}  // namespace kvkeep

#define KVKEEP_CHECK(condition, ...)                                                       \
  do {                                                                                     \
    if (!(condition))                                                                      \
      ::kvkeep::check_failed(__FILE__, __LINE__, #condition, fmt::format("" __VA_ARGS__)); \
  } while (false)
