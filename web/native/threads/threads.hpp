// A WebAssembly module has one thread: what the cores use of <mutex>, <condition_variable> and
// <thread>, which its standard library lacks. Nothing ever waits.
#pragma once

namespace std {

struct mutex {
    void lock() {}
    void unlock() {}
};

template <class Mutex>
struct lock_guard {
    explicit lock_guard(Mutex&) {}
};

template <class Mutex>
struct unique_lock {
    explicit unique_lock(Mutex&) {}
};

struct condition_variable {
    void notify_all() {}
    template <class Lock, class Ready>
    void wait(Lock&, Ready) {}
};

struct thread {  // never made: an engine has one thread, the caller's
    template <class Task>
    explicit thread(Task&&) {}
    void join() {}
};

namespace this_thread {
inline void yield() {}
}  // namespace this_thread

}  // namespace std
