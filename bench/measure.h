// What the benchmarks share: timing, the spread of rounds, and the read loop that every bandwidth
// is compared with.
#pragma once

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/thread_pool.h"

namespace kvkeep::bench {

template <class Work>
double seconds_of(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Processor time of this thread, for work in cache: what other processes take does not count.
template <class Work>
double cpu_seconds_of(const Work& work) {
  const auto now = [] {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double start = now();
  work();
  return now() - start;
}

struct Spread {
  double median = 0, min = 0, max = 0;
};

inline Spread spread_of(std::vector<double> rounds) {
  std::sort(rounds.begin(), rounds.end());
  const size_t n = rounds.size(), half = n / 2;
  return {n % 2 ? rounds[half] : (rounds[half - 1] + rounds[half]) / 2, rounds[0], rounds[n - 1]};
}

inline nlohmann::json to_json(const Spread& spread) {
  return {{"median", spread.median}, {"min", spread.min}, {"max", spread.max}};
}

// Keeps a result the compiler would otherwise leave out.
template <class T>
void keep(const T& value) {
  asm volatile("" : : "g"(&value) : "memory");
}

// Reads every byte once; the sum of its words. bytes is a multiple of 128.
inline uint64_t read_sum(const std::byte* data, size_t bytes) {
  using Words = uint64_t __attribute__((vector_size(16)));
  Words sums[8] = {};
  for (size_t i = 0; i < bytes; i += sizeof sums)
    for (size_t j = 0; j < 8; ++j) {
      Words words;
      std::memcpy(&words, data + i + j * sizeof words, sizeof words);
      sums[j] += words;
    }
  uint64_t total = 0;
  for (const Words& sum : sums) total += sum[0] + sum[1];
  return total;
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
