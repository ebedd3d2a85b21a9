// Which events fit a sensor.
#pragma once
#include <array>
#include <cstddef>

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

struct Sifted {
    size_t admitted = 0;               // the number of events without a fault
    std::array<int64_t, 3> dropped{};  // of the others, by their Fault
};

// Writes the events without a fault to `admitted`, which has room for all, and counts the others.
template <class E>
Sifted sift(const E* events, size_t count, Size sensor, int64_t latest, Event* admitted) {
    Sifted found;
    for (size_t index = 0; index < count; ++index) {
        const E& event = events[index];
        if (const Fault what = fault(event, sensor, latest); what != none) {
            ++found.dropped[what];
            continue;
        }
        latest = event.t;
        admitted[found.admitted++] = {event.t, uint16_t(event.x), uint16_t(event.y),
                                      uint8_t(event.p)};
    }
    return found;
}

}  // namespace lmht::events
