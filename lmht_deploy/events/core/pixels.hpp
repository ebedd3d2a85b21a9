// The pixels of an emulated dynamic vision sensor. events/dvs.py describes the model.
#pragma once
#include <vector>

#include "event.hpp"

namespace lmht::events {

// What the pixels see: frame order[i] of `levels` at times[i]. Between two frames the level of a
// pixel changes linearly.
struct FrameSequence {
    const float* levels;   // [any, height, width]: log intensities
    const int64_t* order;  // [count]
    const int64_t*
        times;  // [count]: microseconds from 0 on, each less than 2^24 after the one before
    int64_t count;
};

struct Pixels {
    Size size;
    const float *off, *on;  // [height, width]: thresholds
    double refractory;      // microseconds after an event in which a pixel sees nothing
    double leak;            // thresholds of ON per microsecond
    double readout;         // microseconds in which the readout is busy with an event
};

// The events that the pixels send, and `noise` (in order of time, on the sensor) among them, in
// order of time; at the same time in the order of the pixels, noise last.
std::vector<Event> emulate(const FrameSequence& frames, const Pixels& pixels, const Event* noise,
                           int64_t noise_count);

}  // namespace lmht::events
