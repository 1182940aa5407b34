// What all measurements share: timing, the spread of rounds, and the read loop that every bandwidth
// is compared with.
//
// Machines change speed by the second, so absolute times of different minutes say nothing about
// each other. Everything that is compared is measured in turn inside each round, ratios are taken
// inside a round, and what is reported is the median over rounds with the extremes beside it.
#pragma once

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/isa.h"

namespace kvkeep::bench {

template <class Work>
double seconds_of(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Seconds of a clock of clock_gettime that pass during the work.
template <class Work>
double clock_seconds_of(clockid_t clock, const Work& work) {
  const auto now = [clock] {
    timespec time;
    clock_gettime(clock, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double start = now();
  work();
  return now() - start;
}

// Processor time of this thread: what other processes take does not count.
template <class Work>
double cpu_seconds_of(const Work& work) {
  return clock_seconds_of(CLOCK_THREAD_CPUTIME_ID, work);
}

// Of work that runs on the pool: processor time where that is this thread alone, else wall time.
template <class Work>
double pool_seconds_of(const ThreadPool& pool, const Work& work) {
  return pool.size() == 1 ? cpu_seconds_of(work) : seconds_of(work);
}

struct Spread {
  double median = 0, min = 0, max = 0;
};

// rounds is not empty.
inline Spread spread_of(std::vector<double> rounds) {
  std::sort(rounds.begin(), rounds.end());
  const size_t n = rounds.size(), half = n / 2;
  return {n % 2 ? rounds[half] : (rounds[half - 1] + rounds[half]) / 2, rounds[0], rounds[n - 1]};
}

// Keeps a result the compiler would otherwise leave out.
template <class T>
void keep(const T& value) {
  asm volatile("" : : "g"(&value) : "memory");
}

// The ratio of two measurements of the same rounds.
inline Spread ratio_of(const std::vector<double>& above, const std::vector<double>& below) {
  std::vector<double> ratios;
  for (size_t i = 0; i < above.size(); ++i) ratios.push_back(above[i] / below[i]);
  return spread_of(ratios);
}

// Reads every byte once; the sum of its words. bytes is a multiple of 64.
inline uint64_t read_sum(const std::byte* data, size_t bytes) {
  return kernels().read_sum(data, bytes);
}

// Seconds to read the buffer once with all threads of the pool.
inline double read_seconds(ThreadPool& pool, const std::byte* data, size_t bytes) {
  constexpr size_t kItem = size_t{1} << 20;
  return seconds_of([&] {
    pool.run(static_cast<int64_t>(bytes / kItem), [&](int64_t item, int) {
      keep(read_sum(data + static_cast<size_t>(item) * kItem, kItem));
    });
  });
}

}  // namespace kvkeep::bench
