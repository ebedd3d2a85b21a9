// Threads that share the tasks of a loop.
#pragma once
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace lmht {

// The caller and `threads` - 1 threads of the pool. Between two loops the pool's threads first spin
// (the layers of a network follow each other within microseconds), then yield, then sleep: a busy
// machine and an idle program both get their cores back. The caller waits only for threads that
// have begun a task, so a thread that the system does not run delays nobody.
class ThreadPool {
public:
    explicit ThreadPool(int threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int threads() const { return int(pool_.size()) + 1; }

    // Calls task(i, thread) once for each i in 0..n-1, with `thread` in 0..threads()-1, and returns
    // when all are done. Where a task throws, no other tasks are begun, and the first exception is
    // thrown here. Not to be called by two threads at a time, nor by a task.
    template <class Task>
    void run(int n, const Task& task) {
        if (pool_.empty() || n <= 1) {
            for (int i = 0; i < n; ++i) task(i, 0);
            return;
        }
        start(
            n, [](const void* t, int i, int thread) { (*static_cast<const Task*>(t))(i, thread); },
            &task);
    }

private:
    using Call = void (*)(const void*, int, int);

    void start(int n, Call call, const void* task);
    void take_tasks(int thread);
    void serve(int thread);
    unsigned wait_for_round_after(unsigned round);

    // The loop in progress. `open_` publishes it to the other threads.
    Call call_ = nullptr;
    const void* task_ = nullptr;
    int n_ = 0;
    unsigned rounds_ = 0;
    std::exception_ptr failure_;  // guarded by mutex_
    alignas(64) std::atomic<int> next_{0};
    alignas(64) std::atomic<unsigned> open_{0};  // the round whose tasks may be taken; 0: none
    alignas(64) std::atomic<int> inside_{0};     // threads that may be taking tasks
    std::atomic<bool> stop_{false};
    std::atomic<int> asleep_{0};
    std::mutex mutex_;
    std::condition_variable wake_;
    std::vector<std::thread> pool_;
};

}  // namespace lmht
