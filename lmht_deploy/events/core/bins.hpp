// Event counts of one time bin.
#pragma once
#include <algorithm>
#include <cstddef>

#include "event.hpp"

namespace lmht::events {

// The index of the first event that is not earlier than `time`. Events are in order of time.
inline size_t first_at(const Event* events, size_t count, int64_t time) {
    return std::partition_point(events, events + count,
                                [time](const Event& event) { return event.t < time; }) -
           events;
}

// Maps an address on an axis of `from` pixels to one of `to` cells: address · to / from, rounded
// down, by a multiplication. The factor to / from is stored in units of 2^-47, rounded up by less
// than one unit. The error of the product is below 2^16 · 2^-47 = 2^-31 and from < 2^31, so the
// product never reaches the next multiple of 1 / from, and the result is exact.
class Scaled {
public:
    Scaled(int64_t from, int64_t to)
        : factor_(uint64_t(((static_cast<unsigned __int128>(to) << 47) + from - 1) / from)) {}
    size_t operator()(uint16_t address) const { return (address * factor_) >> 47; }

private:
    uint64_t factor_;
};

// Adds events to the counts `cells` [2, size.height, size.width], up to the first one that does not
// lie on the sensor. Returns the number of events that were added.
inline size_t add(const Event* events, size_t count, Size sensor, Size size, int64_t* cells) {
    const Scaled row(sensor.height, size.height), column(sensor.width, size.width);
    for (size_t index = 0; index < count; ++index) {
        const Event& event = events[index];
        if (event.x >= sensor.width || event.y >= sensor.height || event.p > 1) return index;
        ++cells[(event.p * size.height + row(event.y)) * size.width + column(event.x)];
    }
    return count;
}

// Writes counts, at most `largest` each, to `clipped`. Returns the number of events that are lost.
inline int64_t clip(const int64_t* cells, size_t count, int32_t largest, int32_t* clipped) {
    int64_t lost = 0;
    for (size_t index = 0; index < count; ++index) {
        clipped[index] = int32_t(std::min<int64_t>(cells[index], largest));
        lost += cells[index] - clipped[index];
    }
    return lost;
}

}  // namespace lmht::events
