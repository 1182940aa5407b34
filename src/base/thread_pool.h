// A fixed set of threads that share the items of one loop at a time.
//
// Items are taken from a counter, and a loop ends when its items are done, not when every thread
// has come: a thread that lost its core delays only the item it holds. Waiting threads yield for
// 50 microseconds, then sleep: another process on the machine costs its share and no more.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace kvkeep {

class ThreadPool {
 public:
  // threads >= 1 counts the calling thread, which works too.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls work(item, worker) for every item in [0, items), each once, and returns when all are
  // done; worker is in [0, size()). One caller at a time; work must not call run. If items throw,
  // one of the exceptions is thrown again after all items are done.
  void run(int64_t items, const std::function<void(int64_t item, int worker)>& work);

 private:
  void worker_loop(int worker);
  void take_items(int worker);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(int64_t, int)>* work_ = nullptr;
  int64_t items_ = 0;
  std::atomic<int64_t> next_{0};
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> active_{0};  // workers inside the present loop
  bool open_ = false;           // workers may still join it
  std::exception_ptr error_;    // the first one, guarded by mutex_
  bool stop_ = false;
};

// Cores this process may use.
int hardware_threads();

}  // namespace kvkeep
