// What stands behind the handles of lmht.h, and how its functions end.
#pragma once
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <vector>

#include "engine/core/engine.hpp"
#include "engine/core/stepwise.hpp"
#include "errors.hpp"
#include "loaded.hpp"
#include "outcome.hpp"
#include "recording.hpp"
#include "stream.hpp"

struct lmht_network {
    std::shared_ptr<const lmht::library::Loaded> loaded;
};

struct lmht_result {
    lmht::library::Outcome outcome;
};

struct lmht_engine {
    lmht_engine(std::shared_ptr<const lmht::library::Loaded> network, int threads);

    const std::shared_ptr<const lmht::library::Loaded> loaded;
    lmht::Engine engine;
    std::mutex mutex;             // of the window in progress
    std::vector<int32_t> window;  // [steps][C][H][W]
};

struct lmht_stepper {
    lmht_stepper(std::shared_ptr<const lmht::library::Loaded> one_step, int threads);

    const std::shared_ptr<const lmht::library::Loaded> loaded;  // for one time-step
    lmht::StepwiseEngine engine;
    mutable std::mutex mutex;    // of what follows
    lmht::library::Outcome sum;  // of the window in progress
    int32_t steps = 0;           // of it that have run
};

struct lmht_recording {
    std::vector<uint8_t> content;  // of a file that the library has read itself
    lmht::library::Opened opened;
    lmht::library::Events events;  // that were read and not yet handed out, from `done` on
    size_t done = 0;
};

struct lmht_stream {
    lmht::library::Stream stream;
    lmht_result result;  // of the last decision
};

namespace lmht::library {

// Notes the message of an error of this thread and returns its status.
lmht_status note_error(lmht_status status, const char* message) noexcept;

// Runs `body`, which returns a status, and turns whatever it throws into one: no exception crosses
// the boundary of the library.
template <class Body>
lmht_status guarded(Body body) noexcept {
    try {
        return body();
    } catch (const Error& error) {
        return note_error(error.status, error.what());
    } catch (const std::bad_alloc&) {
        return note_error(LMHT_OUT_OF_MEMORY, "there is not enough memory");
    } catch (const std::length_error&) {
        return note_error(LMHT_OUT_OF_MEMORY, "there is not enough memory");
    } catch (const std::system_error& error) {
        return note_error(LMHT_OUT_OF_MEMORY, error.what());  // a thread cannot be started
    } catch (const std::exception& error) {
        return note_error(LMHT_INTERNAL_ERROR, error.what());
    } catch (...) {
        return note_error(LMHT_INTERNAL_ERROR, "an unknown error");
    }
}

// Throws where the values of windows are not within the range of the network's input: they would
// overflow the lists of active inputs.
void check_range(const Loaded& loaded, const int32_t* windows, size_t count);
// Throws where there are not 1 to 1024 threads.
void check_threads(int32_t threads);
// Whether the options of a run ask for traces. Throws where one is unknown.
bool wants_traces(uint32_t options);

template <class... Pointers>
void require_pointers(const Pointers*... pointers) {
    require_argument((... && (pointers != nullptr)), "a pointer is null");
}

// Runs `body` on a file; the message of an error begins with its name.
template <class Body>
auto naming_file(const char* name, Body body) {
    try {
        return body();
    } catch (const Error& error) {
        throw Error(error.status, std::string(name) + ": " + error.what());
    }
}

}  // namespace lmht::library
