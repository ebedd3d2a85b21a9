// Threads that share out the rows of a layer.
#pragma once
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace lmht {

// A pool of `threads` - 1 threads beside the caller. Between two calls its threads spin shortly
// (layers follow each other within microseconds), then yield, then sleep, so that a busy machine
// and an idle program both get their cores. The caller waits only for threads that have taken part:
// one that the system does not let run holds nobody up.
class Workers {
public:
    explicit Workers(int threads);
    ~Workers();
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;

    int threads() const { return int(pool_.size()) + 1; }

    // Calls task(i, thread) for i = 0 .. n - 1, each once, and returns when all are done. Tasks
    // must not throw.
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
    void take(int thread);
    void serve(int thread);
    unsigned wait_for_other_than(unsigned round);

    Call call_ = nullptr;
    const void* task_ = nullptr;
    int n_ = 0;
    unsigned rounds_ = 0;
    alignas(64) std::atomic<int> next_{0};
    alignas(64) std::atomic<unsigned> open_{0};  // the round whose tasks may be taken, 0 for none
    alignas(64) std::atomic<int> inside_{0};     // threads that may be taking tasks
    std::atomic<bool> stop_{false};
    std::atomic<int> asleep_{0};
    std::mutex mutex_;
    std::condition_variable wake_;
    std::vector<std::thread> pool_;
};

}  // namespace lmht
