#include "base/thread_pool.h"

#include <sched.h>

#include <chrono>
#include <utility>

#include "base/check.h"

namespace kvkeep {
namespace {

// Between two loops of a layer less time goes by; waking a thread that sleeps takes as long.
constexpr std::chrono::microseconds kSpin{50};

// Yields, so that whoever else wants the core has it.
template <class Condition>
bool spin_until(const Condition& condition) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    if (condition()) return true;
    std::this_thread::yield();
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  KVKEEP_CHECK(threads >= 1, "threads = {}", threads);
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { worker_loop(i); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    generation_.fetch_add(1);
  }
  wake_.notify_all();
  for (auto& thread : workers_) thread.join();
}

void ThreadPool::take_items(int worker) {
  for (int64_t item; (item = next_.fetch_add(1)) < items_;) {
    try {
      (*work_)(item, worker);
    } catch (...) {
      std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }
}

void ThreadPool::run(int64_t items, const std::function<void(int64_t, int)>& work) {
  if (items <= 0) return;
  if (items == 1 || workers_.empty()) {
    for (int64_t i = 0; i < items; ++i) work(i, 0);
    return;
  }
  {
    std::lock_guard lock(mutex_);
    work_ = &work;
    items_ = items;
    next_.store(0);
    open_ = true;
    generation_.fetch_add(1);
  }
  wake_.notify_all();
  take_items(0);
  {
    std::lock_guard lock(mutex_);
    open_ = false;  // who has not come by now is not waited for
  }
  const auto finished = [this] { return active_.load() == 0; };
  if (!spin_until(finished)) {
    std::unique_lock lock(mutex_);
    done_.wait(lock, finished);
  }
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void ThreadPool::worker_loop(int worker) {
  uint64_t seen = 0;
  while (true) {
    const auto changed = [&] { return generation_.load() != seen; };
    if (!spin_until(changed)) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, changed);
    }
    {
      std::lock_guard lock(mutex_);
      seen = generation_.load();
      if (stop_) return;
      if (!open_) continue;
      active_.fetch_add(1);
    }
    take_items(worker);
    std::lock_guard lock(mutex_);
    if (active_.fetch_sub(1) == 1) done_.notify_one();
  }
}

int hardware_threads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return CPU_COUNT(&set) > 0 ? CPU_COUNT(&set) : 1;
}

}  // namespace kvkeep
