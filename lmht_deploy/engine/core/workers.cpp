#include "workers.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lmht {
namespace {

// Spins bridge the gap between two layers or two windows. Yields are few: where another program
// wants the core, each gives away a whole slice of the scheduler, and the thread would never take
// part.
constexpr int SPINS = 8000;
constexpr int YIELDS = 2;

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
    if (++rounds_ == 0) ++rounds_;
    open_.store(rounds_);  // publishes all of the above
    if (asleep_.load()) {
        {
            std::lock_guard lock(mutex_);
        }
        wake_.notify_all();
    }
    take(0);
    open_.store(0);  // who enters from here on sees it; who entered before is waited for
    for (int turns = 0; inside_.load() > 0;) idle(turns);
}

void Workers::take(int thread) {
    for (int i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < n_;) call_(task_, i, thread);
}

void Workers::serve(int thread) {
    for (unsigned round = 0;;) {
        round = wait_for_other_than(round);
        if (stop_.load()) return;
        inside_.fetch_add(1);
        if (open_.load() == round) take(thread);
        inside_.fetch_sub(1);
    }
}

unsigned Workers::wait_for_other_than(unsigned round) {
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
