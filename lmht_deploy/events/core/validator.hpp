// Which events fit a sensor.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "event.hpp"

namespace lmht::events {

constexpr int64_t MAX_TIME = int64_t(1) << 62;

enum Fault { range, polarity, order, none };

// The first fault of an event. `latest` is the time of the valid event before it.
template <class E>
Fault fault(const E& event, Size sensor, int64_t latest) {
    if (event.x < 0 || event.x >= sensor.width || event.y < 0 || event.y >= sensor.height ||
        event.t > MAX_TIME || event.t < -MAX_TIME)
        return range;
    if (event.p < 0 || event.p > 1) return polarity;
    return event.t < latest ? order : none;
}

// The index of the first event with a fault, or `count`.
template <class E>
size_t first_fault(const E* events, size_t count, Size sensor, int64_t latest) {
    size_t index = 0;
    for (; index < count && fault(events[index], sensor, latest) == none; ++index)
        latest = events[index].t;
    return index;
}

// Passes the events without a fault on, packet by packet, and counts the others.
//
// A jump is an event more than `max_gap` us after the event before it. It is either the end of a
// long silence or a damaged time, after which every true event would seem to go back. So the events
// from a jump on are held until it is known: the next packet confirms them, and an event that is
// earlier than the jump refutes them. They then count as events out of order. A jump may follow
// another one that is still held: `jumps_` is a stack.
class Sifter {
public:
    // A negative `max_gap` switches the rule about jumps off.
    Sifter(Size sensor, int64_t max_gap) : sensor_(sensor), max_gap_(max_gap) {}

    // The number of events that are held.
    size_t held() const { return held_.size(); }
    // The number of events with each Fault so far.
    const std::array<int64_t, 3>& dropped() const { return dropped_; }

    // Writes the events without a fault to `admitted`, which has room for `held()` + `count`, and
    // returns their end. Times up to `expected` are no jump, where the caller knows the time.
    template <class E>
    Event* sift(const E* events, size_t count, int64_t expected, Event* admitted) {
        bool first = true;
        for (size_t index = 0; index < count; ++index) {
            const E& event = events[index];
            if (const Fault what = fault(event, sensor_, -MAX_TIME); what != none) {
                ++dropped_[what];
                continue;
            }
            if (!held_.empty()) {
                refute_after(event.t);
                if (first) admitted = release(admitted);
            }
            first = false;
            const int64_t before = held_.empty() ? latest_ : int64_t(held_.back().t);
            if (event.t < before) {
                ++dropped_[order];
                continue;
            }
            const Event kept{event.t, uint16_t(event.x), uint16_t(event.y), uint8_t(event.p)};
            const bool jump = max_gap_ >= 0 && event.t > expected && event.t - max_gap_ > before;
            if (jump) jumps_.push_back(held_.size());
            if (jumps_.empty()) {
                *admitted++ = kept;
                latest_ = kept.t;
            } else {
                held_.push_back(kept);
            }
        }
        return admitted;
    }

    // Writes the events that are held to `admitted` and returns their end.
    Event* release(Event* admitted) {
        if (!held_.empty()) latest_ = held_.back().t;
        admitted = std::copy(held_.begin(), held_.end(), admitted);
        held_.clear();
        jumps_.clear();
        return admitted;
    }

private:
    // Drops what is held from the first jump on that lies after `t`.
    void refute_after(int64_t t) {
        while (!jumps_.empty() && held_[jumps_.back()].t > t) {
            dropped_[order] += int64_t(held_.size() - jumps_.back());
            held_.resize(jumps_.back());
            jumps_.pop_back();
        }
    }

    Size sensor_;
    int64_t max_gap_;
    int64_t latest_ = -MAX_TIME;
    std::array<int64_t, 3> dropped_{};
    std::vector<Event> held_;
    std::vector<size_t> jumps_;  // where each jump lies in `held_`
};

}  // namespace lmht::events
