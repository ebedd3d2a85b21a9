#include <atomic>
#include <stdexcept>

#include "check.hpp"
#include "native/thread_pool.hpp"

using lmht::ThreadPool;

TEST(every_task_runs_once) {
    for (int threads : {1, 2, 3, 8}) {
        ThreadPool pool(threads);
        CHECK_EQUAL(pool.threads(), threads);
        for (int n : {0, 1, 2, 3, 7, 8, 9, 1000, 3, 0, 1}) {
            std::vector<std::atomic<int>> calls(n);
            std::atomic<int> strangers{0};
            pool.run(n, [&](int i, int thread) {
                ++calls[i];
                strangers += thread < 0 || thread >= threads;
            });
            int wrong = 0;
            for (const auto& count : calls) wrong += count != 1;
            CHECK_EQUAL(wrong, 0);
            CHECK_EQUAL(strangers.load(), 0);
        }
    }
}

TEST(many_short_loops) {
    ThreadPool pool(4);
    std::atomic<int64_t> sum{0};
    for (int round = 0; round < 2000; ++round) pool.run(round % 5, [&](int i, int) { sum += i; });
    CHECK_EQUAL(sum.load(), 400 * (0 + 0 + 1 + 3 + 6));
}

TEST(threads_that_sleep_wake_up) {
    ThreadPool pool(3);
    for (int round = 0; round < 3; ++round) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        std::atomic<int> calls{0};
        pool.run(100, [&](int, int) { ++calls; });
        CHECK_EQUAL(calls.load(), 100);
    }
}

TEST(an_exception_reaches_the_caller) {
    for (int threads : {1, 2, 4}) {
        ThreadPool pool(threads);
        for (int bad : {0, 5, 99}) {
            std::atomic<int> calls{0};
            CHECK_THROWS(pool.run(100,
                                  [&](int i, int) {
                                      ++calls;
                                      if (i == bad) throw std::runtime_error("task failed");
                                  }),
                         std::runtime_error, "task failed");
            CHECK(calls <= 100);
        }
        std::atomic<int> calls{0};  // the pool goes on after a failure
        pool.run(100, [&](int, int) { ++calls; });
        CHECK_EQUAL(calls.load(), 100);
    }
}

TEST(of_many_exceptions_one_reaches_the_caller) {
    ThreadPool pool(4);
    for (int round = 0; round < 100; ++round)
        CHECK_THROWS(pool.run(50, [](int, int) { throw std::logic_error("all fail"); }),
                     std::logic_error, "all fail");
}
