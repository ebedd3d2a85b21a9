#include "native/thread_pool.hpp"

#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lmht {
namespace {

// Spins bridge the gap between two layers or two windows. Yields are few: where another program
// wants the core, each yield gives away a whole slice of the scheduler, and a thread with many of
// them would never take part.
constexpr int SPINS = 8000;
constexpr int YIELDS = 2;

// Waits for one turn: by a pause at first, then by a yield. False when it is time to sleep.
bool idle(int& turns) {
    if (++turns <= SPINS) {
#if defined(__x86_64__)
        _mm_pause();
#endif
        return true;
    }
    std::this_thread::yield();
    return turns <= SPINS + YIELDS;
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
    for (int i = 1; i < threads; ++i) pool_.emplace_back([this, i] { serve(i); });
}

ThreadPool::~ThreadPool() {
    {
        std::lock_guard lock(mutex_);
        stop_.store(true);
    }
    wake_.notify_all();
    for (auto& thread : pool_) thread.join();
}

void ThreadPool::start(int n, Call call, const void* task) {
    call_ = call;
    task_ = task;
    n_ = n;
    next_.store(0, std::memory_order_relaxed);
    if (++rounds_ == 0) ++rounds_;
    open_.store(rounds_);  // publishes all of the above
    if (asleep_.load()) {
        {
            std::lock_guard lock(mutex_);
        }
        wake_.notify_all();
    }
    take_tasks(0);
    open_.store(0);  // a thread that enters later sees it; threads that entered before are awaited
    for (int turns = 0; inside_.load() > 0;) idle(turns);
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void ThreadPool::take_tasks(int thread) try {
    for (int i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < n_;) call_(task_, i, thread);
} catch (...) {
    next_.store(n_, std::memory_order_relaxed);
    std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::current_exception();
}

void ThreadPool::serve(int thread) {
    for (unsigned round = 0;;) {
        round = wait_for_round_after(round);
        if (stop_.load()) return;
        inside_.fetch_add(1);
        if (open_.load() == round) take_tasks(thread);
        inside_.fetch_sub(1);
    }
}

// Waits until a round other than `round` is open and returns it; also returns when the pool stops.
unsigned ThreadPool::wait_for_round_after(unsigned round) {
    unsigned open = 0;
    const auto ready = [&] {
        return ((open = open_.load()) != 0 && open != round) || stop_.load();
    };
    for (int turns = 0; idle(turns);)
        if (ready()) return open;
    std::unique_lock lock(mutex_);
    asleep_.fetch_add(1);
    wake_.wait(lock, ready);
    asleep_.fetch_sub(1);
    return open;
}

}  // namespace lmht
