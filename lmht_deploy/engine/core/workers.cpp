#include "workers.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lmht {
namespace {

constexpr int SPINS = 2000;    // about 30 microseconds: longer than the gap between two layers
constexpr int YIELDS = 200;

// One more turn of waiting: pauses first, then lets others run. False when it is time to sleep.
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

Workers::Workers(int threads) {
    for (int i = 1; i < threads; ++i) pool_.emplace_back([this, i] { serve(i); });
}

Workers::~Workers() {
    {
        std::lock_guard lock(mutex_);
        stop_.store(true);
    }
    wake_.notify_all();
    for (auto& thread : pool_) thread.join();
}

void Workers::start(int n, Call call, const void* task) {
    call_ = call;
    task_ = task;
    n_ = n;
    next_.store(0, std::memory_order_relaxed);
    busy_.store(int(pool_.size()), std::memory_order_relaxed);
    round_.fetch_add(1);  // publishes all of the above
    if (asleep_.load()) {
        { std::lock_guard lock(mutex_); }
        wake_.notify_all();
    }
    take(0);
    for (int turns = 0; busy_.load(std::memory_order_acquire) > 0;) idle(turns);
}

void Workers::take(int thread) {
    for (int i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < n_;) call_(task_, i, thread);
}

void Workers::serve(int thread) {
    for (unsigned round = 1;; ++round) {
        wait_for(round);
        if (stop_.load()) return;
        take(thread);
        busy_.fetch_sub(1, std::memory_order_release);
    }
}

void Workers::wait_for(unsigned round) {
    const auto ready = [&] { return round_.load() == round || stop_.load(); };
    for (int turns = 0; idle(turns);)
        if (ready()) return;
    std::unique_lock lock(mutex_);
    asleep_.fetch_add(1);
    wake_.wait(lock, ready);
    asleep_.fetch_sub(1);
}

}  // namespace lmht
