// Filters of noise: which events of a recording are kept.
#pragma once
#include <algorithm>
#include <cstddef>
#include <vector>

#include "event.hpp"

namespace lmht::events {

// The time of the last event of each pixel. Events must lie on the sensor.
class LastTimes {
public:
    explicit LastTimes(Size sensor)
        : sensor_(sensor), times_(size_t(sensor.height * sensor.width), NEVER) {}

    int64_t& at(int64_t x, int64_t y) { return times_[size_t(y * sensor_.width + x)]; }

    // Whether one of the eight neighbors of a pixel had an event at `since` or later.
    bool neighbor_since(int64_t x, int64_t y, int64_t since) {
        const int64_t top = std::max<int64_t>(y - 1, 0), left = std::max<int64_t>(x - 1, 0);
        const int64_t bottom = std::min(y + 1, sensor_.height - 1);
        const int64_t right = std::min(x + 1, sensor_.width - 1);
        for (int64_t row = top; row <= bottom; ++row)
            for (int64_t column = left; column <= right; ++column)
                if ((row != y || column != x) && at(column, row) >= since) return true;
        return false;
    }

    static constexpr int64_t NEVER = INT64_MIN;

private:
    Size sensor_;
    std::vector<int64_t> times_;
};

class Filter {
public:
    explicit Filter(Size sensor) : sensor_(sensor) {}
    virtual ~Filter() = default;
    Size sensor() const { return sensor_; }
    // Copies the events that are kept to `kept`, which has room for all, and returns their end.
    virtual Event* apply(const Event* events, size_t count, Event* kept) = 0;

private:
    Size sensor_;
};

// Keeps an event if one of the eight neighbors of its pixel had an event in the `time` us before.
class BackgroundActivityFilter : public Filter {
public:
    BackgroundActivityFilter(Size sensor, int64_t time)
        : Filter(sensor), last_(sensor), time_(time) {}

    Event* apply(const Event* events, size_t count, Event* kept) override {
        for (const Event* event = events; event != events + count; ++event) {
            if (last_.neighbor_since(event->x, event->y, event->t - time_)) *kept++ = *event;
            last_.at(event->x, event->y) = event->t;
        }
        return kept;
    }

private:
    LastTimes last_;
    int64_t time_;
};

// Keeps an event if its pixel had no event that was kept less than `time` us before.
class RefractoryFilter : public Filter {
public:
    RefractoryFilter(Size sensor, int64_t time) : Filter(sensor), last_(sensor), time_(time) {}

    Event* apply(const Event* events, size_t count, Event* kept) override {
        for (const Event* event = events; event != events + count; ++event) {
            int64_t& last = last_.at(event->x, event->y);
            if (event->t - time_ < last) continue;
            last = event->t;
            *kept++ = *event;
        }
        return kept;
    }

private:
    LastTimes last_;
    int64_t time_;
};

}  // namespace lmht::events
