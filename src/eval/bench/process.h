// Other processes that take part in a measurement: a rival that runs the same model, and one that
// takes a core away.
#pragma once

#include <string>

#include "eval/report.h"
#include "kvkeep/error.h"

namespace kvkeep::bench {

// A program that answers one line of JSON for each line of JSON it gets
// (bench/baselines/README.md).
class Rival {
 public:
  // A shell command; failed when it does not start or says that it cannot run.
  static Result<Rival> start(const std::string& command);
  ~Rival();  // closes the line and waits
  Rival(Rival&& other) noexcept;
  Rival& operator=(Rival&&) = delete;

  // The answer to one question; an answer with "error" is an error.
  Result<Json> ask(const Json& question);

 private:
  Rival(int process, int line) : process_(process), line_(line) {}
  int process_ = -1, line_ = -1;
  std::string pending_;  // read beyond the last line
};

// A process that does nothing but run on one core, the last this process may use, while it is on.
class CoreThief {
 public:
  static Result<CoreThief> start();
  ~CoreThief();
  CoreThief(CoreThief&& other) noexcept : process_(other.process_) { other.process_ = -1; }
  CoreThief& operator=(CoreThief&&) = delete;

  void set(bool on);

 private:
  explicit CoreThief(int process) : process_(process) {}
  int process_ = -1;
};

}  // namespace kvkeep::bench
