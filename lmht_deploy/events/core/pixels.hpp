// The pixels of a dynamic vision sensor.
#pragma once
#include <vector>

#include "event.hpp"

namespace lmht::events {

// What the pixels see: `count` times one of `levels` [any, height, width] (log intensities), `interval` (< 2^30) microseconds apart.
struct Film {
    const double* levels;
    const int64_t* order;
    int64_t count, interval;
};

// The sensor: thresholds `off` and `on` [height, width]; the refractory time in microseconds; the leak in thresholds of ON a microsecond.
struct Pixels {
    Size size;
    const double *off, *on;
    double refractory, leak;
};

// The events of `film`, and `noise` (in order of time, on the sensor) among them, in order of time, row and column.
std::vector<Event> emulate(const Film& film, const Pixels& pixels, const Event* noise, int64_t noise_count);

}  // namespace lmht::events
