#include "stream.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "errors.hpp"
#include "rule.hpp"

namespace lmht::library {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

events::Size input_size(const Loaded& loaded) {
    const Shape& shape = loaded.network.input().shape;
    return {shape.height, shape.width};
}

std::string text_of(events::Size size) {
    return std::to_string(size.width) + " x " + std::to_string(size.height);
}

void check_options(const Network& network, events::Size sensor,
                   const lmht_stream_options& options) {
    const Layer& input = network.input();
    require_argument(!input.image && !input.shape.flat && input.shape.channels == 2,
                     "the network does not take events of shape (2, H, W)");
    require_argument(
        sensor.width >= 1 && sensor.width <= 65536 && sensor.height >= 1 && sensor.height <= 65536,
        "the sides of a sensor must be within 1..65536");
    const events::Size size = {input.shape.height, input.shape.width};
    if (sensor.width < size.width || sensor.height < size.height)
        throw Error(LMHT_INVALID_ARGUMENT, "windows of " + text_of(size) +
                                               " pixels cannot be made from a sensor of " +
                                               text_of(sensor) + "; they must not be larger");
    require_argument(is_rule(options.window, input.steps),
                     options.window.by == LMHT_BY_NONE
                         ? "the network does not state how recordings are cut into windows"
                         : "the window rule does not fit the time-steps of the network");
    require_argument(options.threads >= 1 && options.threads <= 1024,
                     "threads must be within 1..1024");
    require_argument(options.smooth >= 1, "smoothing needs at least one window");
    require_argument(options.max_gap >= 0 && options.max_gap <= events::MAX_TIME,
                     "the longest gap is out of range");
    require_argument(options.min_margin < INFINITY, "the smallest margin is out of range");
}

lmht_stream_options checked(const Network& network, events::Size sensor,
                            lmht_stream_options options) {
    if (options.window.by == LMHT_BY_NONE) options.window = network.window;
    if (options.min_margin < 0) options.min_margin = network.min_margin;
    check_options(network, sensor, options);
    return options;
}

events::Event as_event(const lmht_event& event) {
    return {event.t, event.x, event.y, event.p};
}

std::string describe(const events::Event& event, events::Size sensor, int64_t latest) {
    switch (events::fault(event, sensor, latest)) {
        case events::range:
            return "it lies outside of the sensor of " + text_of(sensor) +
                   " pixels, or its time is beyond 2^62 us";
        case events::polarity:
            return "its polarity must be 0 (OFF) or 1 (ON)";
        default:
            return "it is earlier than an event before it";
    }
}

}  // namespace

// ------------------------------------------------------------------------------------------------
// answers

int32_t largest(const int64_t* logits, size_t classes) {
    return int32_t(std::max_element(logits, logits + classes) - logits);
}

void Judge::answer(const int64_t* logits, size_t classes, lmht_decision& decision) {
    last_.emplace_back(logits, logits + classes);
    if (last_.size() > smooth_) last_.pop_front();
    std::vector<int64_t> total(classes);
    for (const auto& window : last_)
        for (size_t k = 0; k < classes; ++k) total[k] += window[k];
    const int32_t label = largest(total.data(), classes);
    const int64_t first = total[size_t(label)];
    total[size_t(label)] = INT64_MIN;
    const int64_t second = classes > 1 ? *std::max_element(total.begin(), total.end()) : 0;
    decision.margin = double(first - second) * scale_ / double(last_.size());
    decision.label = min_margin_ > 0 && decision.margin < min_margin_ ? -1 : label;
}

// ------------------------------------------------------------------------------------------------
// bins and their engine

Runner::Runner(const Loaded& loaded, events::Size sensor, int threads)
    : Bins(loaded.network.input().steps, sensor, input_size(loaded)),
      max_count_(loaded.network.input().max),
      model_(loaded.model) {
    if (IncrementalEngine::supports(*model_))
        shared_ = std::make_unique<IncrementalEngine>(model_, threads);
    else
        whole_ = std::make_unique<Engine>(model_, threads);
    window_.resize((shared_ ? 1 : size_t(steps())) * cells());
}

void Runner::limit(int64_t slot, int32_t* limited) const {
    const int64_t* const counted = counts(slot);
    for (size_t i = 0; i < cells(); ++i) limited[i] = int32_t(std::min(counted[i], max_count_));
}

void Runner::complete(int64_t slot) {
    if (!shared_) return;
    limit(slot, window_.data());
    const Clock::time_point start = Clock::now();
    shared_->put(int(slot), window_.data());
    complete_seconds_ = seconds_since(start);
}

void Runner::run(int64_t oldest, bool trace, Outcome& outcome) {
    const RunOutputs outputs = outcome.prepare(*model_, 1, trace);
    if (whole_)
        for (int64_t step = 0; step < steps(); ++step)
            limit((oldest + step) % steps(), &window_[size_t(step) * cells()]);
    const Clock::time_point start = Clock::now();
    if (shared_)
        shared_->run(int(oldest), outputs);
    else
        whole_->run(window_.data(), 1, outputs);
    outcome.seconds = complete_seconds_ + seconds_since(start);
}

int64_t Runner::lost() const {
    int64_t lost = 0;
    for (int64_t slot = 0; slot < steps(); ++slot)
        for (size_t i = 0; i < cells(); ++i)
            lost += std::max<int64_t>(counts(slot)[i] - max_count_, 0);
    return lost;
}

// ------------------------------------------------------------------------------------------------
// streams

Stream::Stream(std::shared_ptr<const Loaded> loaded, events::Size sensor,
               const lmht_stream_options& options)
    : loaded_(std::move(loaded)),
      sensor_(sensor),
      options_(checked(loaded_->network, sensor, options)),
      runner_(*loaded_, sensor, options_.threads),
      windower_(options_.window, options_.max_gap, runner_),
      judge_(options_.smooth, options_.min_margin, loaded_->network.readout().scale),
      sifter_(sensor, options_.max_gap),
      counts_(size_t(runner_.steps()) * runner_.cells()) {}

void Stream::require_open() const {
    require_argument(!ended_, "the stream has ended");
}

void Stream::push(const lmht_event* given, size_t count) {
    require_open();
    std::vector<events::Event> events(count);
    std::transform(given, given + count, events.begin(), as_event);
    if (options_.drop)
        push_dropping(events);
    else
        push_valid(events.data(), count);
}

void Stream::push_dropping(const std::vector<events::Event>& events) {
    std::vector<events::Event> valid(sifter_.held() + events.size());
    const events::Event* const end =
        sifter_.sift(events.data(), events.size(), -events::MAX_TIME, valid.data());
    windower_.push(valid.data(), size_t(end - valid.data()));
}

void Stream::push_valid(const events::Event* given, size_t count) {
    const size_t valid = events::first_fault(given, count, sensor_, latest_);
    if (valid) latest_ = given[valid - 1].t;
    windower_.push(given, valid);
    seen_ += int64_t(valid);
    if (valid < count)
        throw Error(LMHT_INVALID_EVENT, "event " + std::to_string(seen_) + ": " +
                                            describe(given[valid], sensor_, latest_));
}

void Stream::elapse(int64_t t) {
    require_open();
    windower_.elapse(std::clamp(t, -events::MAX_TIME, events::MAX_TIME));
}

void Stream::finish() {
    require_open();
    std::vector<events::Event> held(sifter_.held());
    sifter_.release(held.data());
    windower_.push(held.data(), held.size());
    windower_.finish();
    ended_ = true;
}

bool Stream::next(lmht_decision& decision, Outcome& outcome) {
    if (!windower_.next()) return false;
    runner_.run(windower_.oldest(), options_.run & LMHT_TRACE, outcome);
    keep_counts();
    decision = {};
    decision.window = windows_++;
    decision.start = windower_.start();
    decision.time = windower_.end();
    decision.incomplete = windower_.incomplete();
    for (int64_t slot = 0; slot < runner_.steps(); ++slot) decision.events += runner_.number(slot);
    decision.lost = runner_.lost();
    decision.spikes = outcome.total_spikes();
    decision.sops = outcome.total_sops();
    decision.seconds = outcome.seconds;
    judge_.answer(outcome.logits(), outcome.classes(), decision);
    return true;
}

void Stream::keep_counts() {
    for (int64_t step = 0; step < runner_.steps(); ++step) {
        const int64_t slot = (windower_.oldest() + step) % runner_.steps();
        std::copy_n(runner_.counts(slot), runner_.cells(),
                    counts_.begin() + step * int64_t(runner_.cells()));
    }
}

lmht_stream_losses Stream::losses() const {
    const auto& dropped = sifter_.dropped();
    return {.outside = dropped[events::range],
            .polarity = dropped[events::polarity],
            .order = dropped[events::order],
            .late = windower_.late(),
            .skipped = windower_.skipped()};
}

}  // namespace lmht::library
