#include "progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "interrupt.h"

namespace kvkeep {

using std::chrono::duration;
using std::chrono::milliseconds;
using std::chrono::seconds;

Progress::Progress(std::string what)
    : what_(std::move(what)), terminal_(::isatty(STDERR_FILENO) == 1), next_(start_ + seconds(2)) {}

Progress::~Progress() { wipe(); }

ProgressFn Progress::fn() {
  return [this](double done, double total) {
    if (Clock::now() >= next_) show(done, total);
    return !interrupted();
  };
}

void Progress::show(double done, double total) {
  const auto now = Clock::now();
  next_ = now + (terminal_ ? milliseconds(200) : milliseconds(10000));
  if (!(total > 0) || !(done > 0)) return;
  const double fraction = std::min(done / total, 1.0);
  const double left = duration<double>(now - start_).count() * (1 / fraction - 1);
  const std::string line =
      fmt::format("{}: {:.0f} %, {} left", what_, 100 * fraction, duration_text(left));
  if (!terminal_) {
    std::fprintf(stderr, "%s\n", line.c_str());
    return;
  }
  wipe();
  std::fputs(line.c_str(), stderr);
  std::fflush(stderr);
  shown_ = line.size();
}

void Progress::wipe() {
  if (shown_ > 0) std::fprintf(stderr, "\r%*s\r", static_cast<int>(shown_), "");
  shown_ = 0;
}

std::string duration_text(double seconds_left) {
  const auto total = static_cast<long>(std::ceil(std::min(seconds_left, 1e9)));
  if (total < 60) return fmt::format("{} s", total);
  if (total < 3600) return fmt::format("{} min {} s", total / 60, total % 60);
  return fmt::format("{} h {} min", total / 3600, total % 3600 / 60);
}

}  // namespace kvkeep
