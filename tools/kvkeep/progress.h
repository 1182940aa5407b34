// How far a long call is and how much time is left, on stderr, once it has taken two seconds: one
// line that rewrites itself on a terminal, a line every ten seconds elsewhere.
#pragma once

#include <chrono>
#include <string>

#include "kvkeep/progress.h"

namespace kvkeep {

class Progress {
 public:
  explicit Progress(std::string what);
  ~Progress();  // wipes its line on a terminal
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // For the library; answers false after Ctrl-C. Must not outlive this object.
  ProgressFn fn();

 private:
  using Clock = std::chrono::steady_clock;
  void show(double done, double total);
  void wipe();

  std::string what_;
  bool terminal_;
  size_t shown_ = 0;  // characters on the line
  Clock::time_point start_ = Clock::now(), next_;
};

// 75 s -> "1 min 15 s"
std::string duration_text(double seconds);

}  // namespace kvkeep
