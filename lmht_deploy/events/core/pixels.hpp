// The pixels of a dynamic vision sensor.
#pragma once
#include <vector>

#include "event.hpp"

namespace lmht::events {

// What the pixels see: `levels` [any, height, width] (log intensities); frame order[i] of them at
// the i-th of `count` `times`, which rise from 0 by less than 2^24 microseconds each.
struct Film {
    const float* levels;
    const int64_t *order, *times;
    int64_t count;
};

// The sensor: thresholds `off` and `on` [height, width]; the refractory time in microseconds; the
// leak in thresholds of ON a microsecond; the microseconds for which the readout is busy with an
// event.
struct Pixels {
    Size size;
    const float *off, *on;
    double refractory, leak, readout;
};

// The events of `film`, and `noise` (in order of time, on the sensor) among them, in order of time;
// at one time in the order of the pixels, noise last.
std::vector<Event> emulate(const Film& film, const Pixels& pixels, const Event* noise,
                           int64_t noise_count);

}  // namespace lmht::events
