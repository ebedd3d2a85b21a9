// lmht.h: steppers.
#include <chrono>

#include "api.hpp"

namespace lib = lmht::library;

namespace {

using Clock = std::chrono::steady_clock;

void step(lmht_stepper& stepper, const int32_t* counts, uint32_t options, lib::Outcome& outcome) {
    const bool trace = lib::wants_traces(options);
    lib::check_range(*stepper.loaded, counts, 1);
    const std::lock_guard lock(stepper.mutex);
    lib::require_argument(stepper.steps < stepper.loaded->steps,
                          "the window has all its time-steps; finish it first");
    const bool first = stepper.steps == 0, last = stepper.steps == stepper.loaded->steps - 1;
    const lmht::RunOutputs outputs = outcome.prepare(*stepper.loaded->model, 1, trace);
    const Clock::time_point start = Clock::now();
    stepper.engine.step(counts, first, last, outputs);
    outcome.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (first) stepper.sum = lib::Outcome();
    ++stepper.steps;
    stepper.sum.add(outcome);
}

}  // namespace

lmht_stepper::lmht_stepper(std::shared_ptr<const lib::Loaded> one_step, int threads)
    : loaded(std::move(one_step)), engine(loaded->model, threads) {}

lmht_status lmht_stepper_open(const char* path, const char* isa, int32_t threads,
                              lmht_stepper** stepper) {
    return lib::guarded([&] {
        lib::require_pointers(path, stepper);
        lib::check_threads(threads);
        *stepper = lib::naming_file(path, [&] {
            const std::vector<uint8_t> content = lib::read_file(path);
            return new lmht_stepper(lib::load_one_step(content.data(), content.size(), isa),
                                    threads);
        });
        return LMHT_OK;
    });
}

lmht_status lmht_stepper_read(const void* bytes, size_t size, const char* isa, int32_t threads,
                              lmht_stepper** stepper) {
    return lib::guarded([&] {
        lib::require_pointers(bytes, stepper);
        lib::check_threads(threads);
        const auto* const content = static_cast<const uint8_t*>(bytes);
        *stepper = lib::naming_file("the network", [&] {
            return new lmht_stepper(lib::load_one_step(content, size, isa), threads);
        });
        return LMHT_OK;
    });
}

void lmht_stepper_free(lmht_stepper* stepper) {
    delete stepper;
}

lmht_status lmht_stepper_step(lmht_stepper* stepper, const int32_t* counts, uint32_t options,
                              lmht_result* result) {
    return lib::guarded([&] {
        lib::require_pointers(stepper, counts, result);
        step(*stepper, counts, options, result->outcome);
        return LMHT_OK;
    });
}

int32_t lmht_stepper_steps(const lmht_stepper* stepper) {
    if (!stepper) return 0;
    const std::lock_guard lock(stepper->mutex);
    return stepper->steps;
}

lmht_status lmht_stepper_finish(lmht_stepper* stepper, lmht_result* result) {
    return lib::guarded([&] {
        lib::require_pointers(stepper, result);
        const std::lock_guard lock(stepper->mutex);
        lib::require_argument(stepper->steps > 0, "the window has none of its time-steps");
        result->outcome = stepper->sum;
        stepper->steps = 0;
        return LMHT_OK;
    });
}

lmht_status lmht_stepper_reset(lmht_stepper* stepper) {
    return lib::guarded([&] {
        lib::require_pointers(stepper);
        const std::lock_guard lock(stepper->mutex);
        stepper->steps = 0;
        return LMHT_OK;
    });
}
