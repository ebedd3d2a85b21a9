// lmht.h: results and engines.
#include <algorithm>
#include <chrono>

#include "api.hpp"
#include "engine/core/encoder.hpp"

namespace lib = lmht::library;

namespace {

using Clock = std::chrono::steady_clock;

const lmht::Tensor& input_of(const lmht_engine& engine) {
    return engine.engine.model().tensors[0];
}

void run(lmht_engine& engine, const int32_t* windows, size_t count, uint32_t options,
         lmht_result& result) {
    lib::require_argument(count >= 1 && count <= INT32_MAX, "there is no window to run");
    const bool trace = lib::wants_traces(options);
    lib::check_range(*engine.loaded, windows, count);
    lib::Outcome& outcome = result.outcome;
    const lmht::RunOutputs outputs = outcome.prepare(*engine.loaded->model, count, trace);
    const Clock::time_point start = Clock::now();
    engine.engine.run(windows, int(count), outputs);
    outcome.seconds = std::chrono::duration<double>(Clock::now() - start).count();
}

// Where an event counts in the window in progress.
size_t index_of(const lmht::Tensor& input, const lmht_place& at) {
    lib::require_argument(at.step >= 0 && at.step < input.steps && at.channel >= 0 &&
                              at.channel < input.channels && at.y >= 0 && at.y < input.height &&
                              at.x >= 0 && at.x < input.width,
                          "an event lies outside of the window");
    return ((size_t(at.step) * size_t(input.channels) + size_t(at.channel)) * size_t(input.height) +
            size_t(at.y)) *
               size_t(input.width) +
           size_t(at.x);
}

void push(lmht_engine& engine, const lmht_place* events, size_t count) {
    const lmht::Tensor& input = input_of(engine);
    for (size_t i = 0; i < count; ++i) index_of(input, events[i]);
    const std::lock_guard lock(engine.mutex);
    size_t added = 0;
    for (; added < count; ++added) {
        int32_t& at = engine.window[index_of(input, events[added])];
        if (at >= input.max) break;
        ++at;
    }
    if (added == count) return;
    while (added-- > 0) --engine.window[index_of(input, events[added])];
    throw lib::Error(
        LMHT_INVALID_ARGUMENT,
        "a place would count more events than the network takes, " + std::to_string(input.max));
}

}  // namespace

void lmht::library::check_range(const Loaded& loaded, const int32_t* windows, size_t count) {
    const Layer& input = loaded.network.input();
    const size_t values = loaded.model->tensors[0].values();
    for (size_t window = 0; window < count; ++window, windows += values) {
        if (lie_within(windows, values, input.min, input.max)) continue;
        const auto [min, max] = std::minmax_element(windows, windows + values);
        throw Error(LMHT_INVALID_ARGUMENT, "window " + std::to_string(window) + " holds " +
                                               std::to_string(*min < input.min ? *min : *max) +
                                               "; the network takes " + std::to_string(input.min) +
                                               " to " + std::to_string(input.max));
    }
}

void lmht::library::check_threads(int32_t threads) {
    require_argument(threads >= 1 && threads <= 1024, "threads must be within 1..1024");
}

bool lmht::library::wants_traces(uint32_t options) {
    require_argument((options & ~uint32_t(LMHT_TRACE)) == 0, "an option is unknown");
    return options & LMHT_TRACE;
}

lmht_engine::lmht_engine(std::shared_ptr<const lib::Loaded> network, int threads)
    : loaded(std::move(network)),
      engine(loaded->model, threads),
      window(engine.model().tensors[0].values()) {}

lmht_status lmht_result_create(lmht_result** result) {
    return lib::guarded([&] {
        lib::require_pointers(result);
        *result = new lmht_result;
        return LMHT_OK;
    });
}

void lmht_result_free(lmht_result* result) {
    delete result;
}

size_t lmht_result_windows(const lmht_result* result) {
    return result ? result->outcome.windows() : 0;
}
const int64_t* lmht_result_logits(const lmht_result* result) {
    return result ? result->outcome.logits() : nullptr;
}
const int64_t* lmht_result_spikes(const lmht_result* result) {
    return result ? result->outcome.spikes() : nullptr;
}
const int64_t* lmht_result_events(const lmht_result* result) {
    return result ? result->outcome.events() : nullptr;
}
const int64_t* lmht_result_sops(const lmht_result* result) {
    return result ? result->outcome.sops() : nullptr;
}
const int64_t* lmht_result_event_sops(const lmht_result* result) {
    return result ? result->outcome.event_sops() : nullptr;
}
const int32_t* lmht_result_trace(const lmht_result* result, int32_t neurons) {
    return result && neurons >= 0 ? result->outcome.trace(size_t(neurons)) : nullptr;
}
int32_t lmht_result_answer(const lmht_result* result, size_t window) {
    if (!result || window >= result->outcome.windows()) return -1;
    return lib::largest(result->outcome.logits(window), result->outcome.classes());
}
double lmht_result_seconds(const lmht_result* result) {
    return result ? result->outcome.seconds : 0;
}

lmht_status lmht_engine_create(lmht_network* network, int32_t threads, lmht_engine** engine) {
    return lib::guarded([&] {
        lib::require_pointers(network, engine);
        lib::check_threads(threads);
        *engine = new lmht_engine(network->loaded, threads);
        return LMHT_OK;
    });
}

void lmht_engine_free(lmht_engine* engine) {
    delete engine;
}

lmht_status lmht_engine_run(lmht_engine* engine, const int32_t* windows, size_t count,
                            uint32_t options, lmht_result* result) {
    return lib::guarded([&] {
        lib::require_pointers(engine, windows, result);
        run(*engine, windows, count, options, *result);
        return LMHT_OK;
    });
}

lmht_status lmht_engine_push(lmht_engine* engine, const lmht_place* events, size_t count) {
    return lib::guarded([&] {
        lib::require_pointers(engine);
        lib::require_argument(events || count == 0, "a pointer is null");
        push(*engine, events, count);
        return LMHT_OK;
    });
}

lmht_status lmht_engine_finish(lmht_engine* engine, uint32_t options, lmht_result* result) {
    return lib::guarded([&] {
        lib::require_pointers(engine, result);
        const std::lock_guard lock(engine->mutex);
        run(*engine, engine->window.data(), 1, options, *result);
        std::fill(engine->window.begin(), engine->window.end(), 0);
        return LMHT_OK;
    });
}

lmht_status lmht_engine_reset(lmht_engine* engine) {
    return lib::guarded([&] {
        lib::require_pointers(engine);
        const std::lock_guard lock(engine->mutex);
        std::fill(engine->window.begin(), engine->window.end(), 0);
        return LMHT_OK;
    });
}

uint64_t lmht_engine_buffer_bytes(const lmht_engine* engine) {
    return engine ? engine->engine.buffer_bytes() : 0;
}
