// The C++ interface of liblmht (C++17): objects that free themselves, and exceptions. Header only,
// over lmht.h, which describes what the functions do.
//
//     lmht::Network network("net.lmhtf");
//     lmht::Engine engine(network);
//     lmht::Result result;
//     engine.run(windows, count, result);
//     int label = result.answer(0);
#pragma once
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "lmht.h"

namespace lmht {
inline namespace face1 {  // of its own, so that a static library's names stay apart

// An error of the library.
class Error : public std::runtime_error {
public:
    explicit Error(lmht_status status)
        : std::runtime_error(lmht_error_message()), status_(status) {}
    lmht_status status() const { return status_; }

private:
    lmht_status status_;
};

// Returns a status that is no error.
inline lmht_status check(lmht_status status) {
    if (status < 0) throw Error(status);
    return status;
}

// Requires that the library is the one of this header.
inline void check_abi() {
    if (lmht_abi_version() != LMHT_ABI_VERSION)
        throw std::runtime_error("liblmht has another ABI version than lmht.h");
}

// Numbers that belong to another object.
template <class T>
class View {
public:
    View(const T* data, size_t size) : data_(data), size_(size) {}
    const T* data() const { return data_; }
    size_t size() const { return size_; }
    const T* begin() const { return data_; }
    const T* end() const { return data_ + size_; }
    const T& operator[](size_t i) const { return data_[i]; }

private:
    const T* data_;
    size_t size_;
};

namespace detail {
template <class Handle, void (*FREE)(Handle*)>
struct Free {
    void operator()(Handle* handle) const { FREE(handle); }
};
template <class Handle, void (*FREE)(Handle*)>
using Owner = std::unique_ptr<Handle, Free<Handle, FREE>>;
}  // namespace detail

// Names of the instruction sets of this CPU, the fastest first.
inline std::vector<std::string> isas() {
    std::vector<std::string> names;
    while (const char* name = lmht_isa(names.size())) names.emplace_back(name);
    return names;
}

// A network that is ready to run. Copies share it.
class Network {
public:
    explicit Network(const std::string& path, const char* isa = nullptr) {
        check_abi();
        lmht_network* opened;
        check(lmht_network_open(path.c_str(), isa, &opened));
        keep(opened);
    }
    Network(const void* bytes, size_t size, const char* isa = nullptr) {
        check_abi();
        lmht_network* read;
        check(lmht_network_read(bytes, size, isa, &read));
        keep(read);
    }

    lmht_network* get() const { return handle_.get(); }
    const lmht_network_info& info() const { return info_; }
    lmht_layer_info layer(int32_t index) const {
        lmht_layer_info layer;
        check(lmht_network_get_layer(get(), index, &layer));
        return layer;
    }
    // Name of a class, or its number where the network does not name its classes.
    std::string class_name(int32_t index) const {
        const char* const name = lmht_network_class_name(get(), index);
        return name ? name : std::to_string(index);
    }
    std::string metadata() const { return lmht_network_metadata(get()); }
    std::string isa() const { return lmht_network_isa(get()); }

private:
    void keep(lmht_network* network) {
        handle_.reset(network, lmht_network_free);
        check(lmht_network_get_info(network, &info_));
    }

    std::shared_ptr<lmht_network> handle_;
    lmht_network_info info_{};
};

// The integers of the windows of a run.
class Result {
public:
    Result() {
        lmht_result* result;
        check(lmht_result_create(&result));
        handle_.reset(result);
    }

    lmht_result* get() const { return handle_.get(); }
    size_t windows() const { return lmht_result_windows(get()); }
    int32_t answer(size_t window = 0) const { return lmht_result_answer(get(), window); }
    double seconds() const { return lmht_result_seconds(get()); }

private:
    detail::Owner<lmht_result, lmht_result_free> handle_;
};

// The integers of one window of a result, which must stay as it is.
class WindowView {
public:
    WindowView(const lmht_result* result, const Network& network, size_t window = 0)
        : logits(row(lmht_result_logits(result), network.info().classes, window)),
          spikes(row(lmht_result_spikes(result), network.info().neuron_layers, window)),
          events(row(lmht_result_events(result), network.info().neuron_layers, window)),
          sops(row(lmht_result_sops(result), network.info().synaptic_layers, window)),
          event_sops(row(lmht_result_event_sops(result), network.info().synaptic_layers, window)) {}

    View<int64_t> logits, spikes, events, sops, event_sops;

private:
    static View<int64_t> row(const int64_t* values, int32_t columns, size_t window) {
        return {values + window * size_t(columns), size_t(columns)};
    }
};

class Engine {
public:
    explicit Engine(const Network& network, int32_t threads = 1) : network_(network) {
        lmht_engine* engine;
        check(lmht_engine_create(network.get(), threads, &engine));
        handle_.reset(engine);
    }

    lmht_engine* get() const { return handle_.get(); }
    const Network& network() const { return network_; }

    // Runs `count` windows, [count][steps][channels][height][width].
    void run(const int32_t* windows, size_t count, Result& result, uint32_t options = 0) {
        check(lmht_engine_run(get(), windows, count, options, result.get()));
    }
    void push(const lmht_place* events, size_t count) {
        check(lmht_engine_push(get(), events, count));
    }
    void finish(Result& result, uint32_t options = 0) {
        check(lmht_engine_finish(get(), options, result.get()));
    }
    void reset() { check(lmht_engine_reset(get())); }

private:
    Network network_;
    detail::Owner<lmht_engine, lmht_engine_free> handle_;
};

// Runs a window while it happens, one time-step at a time.
class Stepper {
public:
    explicit Stepper(const std::string& path, int32_t threads = 1, const char* isa = nullptr) {
        check_abi();
        lmht_stepper* stepper;
        check(lmht_stepper_open(path.c_str(), isa, threads, &stepper));
        handle_.reset(stepper);
    }
    Stepper(const void* bytes, size_t size, int32_t threads = 1, const char* isa = nullptr) {
        check_abi();
        lmht_stepper* stepper;
        check(lmht_stepper_read(bytes, size, isa, threads, &stepper));
        handle_.reset(stepper);
    }

    lmht_stepper* get() const { return handle_.get(); }
    int32_t steps() const { return lmht_stepper_steps(get()); }

    // Runs the next time-step, [channels][height][width].
    void step(const int32_t* counts, Result& result, uint32_t options = 0) {
        check(lmht_stepper_step(get(), counts, options, result.get()));
    }
    void finish(Result& result) { check(lmht_stepper_finish(get(), result.get())); }
    void reset() { check(lmht_stepper_reset(get())); }

private:
    detail::Owner<lmht_stepper, lmht_stepper_free> handle_;
};

class Recording {
public:
    explicit Recording(const std::string& path, int32_t width = 0, int32_t height = 0,
                       const char* track = nullptr) {
        lmht_recording* recording;
        check(lmht_recording_open(path.c_str(), width, height, track, &recording));
        handle_.reset(recording);
    }

    int32_t width() const { return lmht_recording_width(handle_.get()); }
    int32_t height() const { return lmht_recording_height(handle_.get()); }

    // Reads the next events, at most `most`; none at the end.
    bool next(std::vector<lmht_event>& events, size_t most = 4096) {
        events.resize(most);
        size_t count = 0;
        const lmht_status status =
            check(lmht_recording_next(handle_.get(), events.data(), most, &count));
        events.resize(status == LMHT_OK ? count : 0);
        return status == LMHT_OK;
    }

private:
    detail::Owner<lmht_recording, lmht_recording_free> handle_;
};

class Stream {
public:
    static lmht_stream_options defaults() {
        lmht_stream_options options;
        check(lmht_stream_options_init(&options));
        return options;
    }

    Stream(const Network& network, int32_t width, int32_t height,
           const lmht_stream_options& options = defaults()) {
        lmht_stream* stream;
        check(lmht_stream_create(network.get(), width, height, &options, &stream));
        handle_.reset(stream);
    }

    void push(const lmht_event* events, size_t count) {
        check(lmht_stream_push(handle_.get(), events, count));
    }
    void push(const std::vector<lmht_event>& events) { push(events.data(), events.size()); }
    void elapse(int64_t t) { check(lmht_stream_elapse(handle_.get(), t)); }
    void finish() { check(lmht_stream_finish(handle_.get())); }

    // Runs the next complete window; false if it needs more events.
    bool next(lmht_decision& decision) {
        return check(lmht_stream_next(handle_.get(), &decision)) == LMHT_OK;
    }
    const lmht_result* result() const { return lmht_stream_result(handle_.get()); }
    lmht_stream_losses losses() const {
        lmht_stream_losses losses;
        check(lmht_stream_get_losses(handle_.get(), &losses));
        return losses;
    }

private:
    detail::Owner<lmht_stream, lmht_stream_free> handle_;
};

}  // namespace face1
}  // namespace lmht
