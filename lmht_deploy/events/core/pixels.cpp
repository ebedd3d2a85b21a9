#include "pixels.hpp"

#include <algorithm>

namespace lmht::events {
namespace {

// One pixel in one interval: its level minus its reference is before + share·change - reference, share within 0..1.
// The leak counts as a rise of the level; `reference` is taken as at the interval's start.
struct Course {
    double before, change, off, on, refractory;  // refractory: a share of the interval

    // Sends (share, polarity) of every crossing. `blind` is the share at which the pixel, in reset since its last event, sees again.
    template <class Send>
    void run(double& reference, double& blind, const Send& send) const {
        double share = 0;
        if (blind > 0) {
            if (blind >= 1) return;
            reference = before + blind * change;
            share = blind;
            blind = 0;
        }
        const double sign = change < 0 ? -1 : 1, step = change < 0 ? -off : on;
        while (change != 0 && sign * (before + change - reference - step) >= 0) {
            share = std::clamp((reference + step - before) / change, share, 1.0);
            send(share, change > 0);
            reference += step;
            if (refractory == 0) continue;
            blind = share + refractory;
            if (blind >= 1) return;
            reference = before + blind * change;
            share = blind;
            blind = 0;
        }
    }
};

// An event of one interval as a number that sorts by time, then by pixel: time since the interval's start, pixel, polarity.
uint64_t key(int64_t time, int64_t pixel, bool polarity) { return uint64_t(time) << 33 | uint64_t(pixel) << 1 | polarity; }

// Appends the events of one interval in order of time.
void append_sorted(std::vector<Event>& events, std::vector<uint64_t>& keys, int64_t start, uint32_t width) {
    std::sort(keys.begin(), keys.end());
    for (const uint64_t key : keys) {
        const auto pixel = uint32_t(key >> 1);
        events.push_back({start + int64_t(key >> 33), uint16_t(pixel % width), uint16_t(pixel / width), uint8_t(key & 1)});
    }
    keys.clear();
}

// Which pixels reach a threshold in an interval that ends with the levels `after`, or are in reset: few, so that this is done for all at once (vectorised).
void find_active(const double* __restrict after, const double* __restrict reference, const double* __restrict blind, const Pixels& pixels, double leak,
                 uint8_t* __restrict active) {
    const double *__restrict on = pixels.on, *__restrict off = pixels.off;
    const int64_t area = pixels.size.height * pixels.size.width;
    for (int64_t pixel = 0; pixel < area; ++pixel) {
        const double difference = after[pixel] - reference[pixel] + leak * on[pixel];
        active[pixel] = (difference >= on[pixel]) | (difference <= -off[pixel]) | (blind[pixel] > 0);
    }
}

}  // namespace

std::vector<Event> emulate(const Film& film, const Pixels& pixels, const Event* noise, int64_t noise_count) {
    const int64_t area = pixels.size.height * pixels.size.width;
    const double* before = film.levels + film.order[0] * area;
    const double interval = double(film.interval), leak = pixels.leak * interval, refractory = pixels.refractory / interval;
    std::vector<double> reference(before, before + area), blind(area, 0.0);
    std::vector<uint8_t> active(area);
    std::vector<uint64_t> keys;
    std::vector<Event> events;
    const Event* const noise_end = noise + noise_count;
    for (int64_t step = 0; step + 1 < film.count; ++step) {
        const double* after = film.levels + film.order[step + 1] * area;
        find_active(after, reference.data(), blind.data(), pixels, leak, active.data());
        for (int64_t pixel = 0; pixel < area; ++pixel) {
            if (!active[pixel]) continue;
            const double on = pixels.on[pixel];
            const Course course{before[pixel], after[pixel] - before[pixel] + leak * on, pixels.off[pixel], on, refractory};
            course.run(reference[pixel], blind[pixel], [&](double share, bool polarity) { keys.push_back(key(int64_t(share * interval), pixel, polarity)); });
            blind[pixel] = std::max(blind[pixel] - 1, 0.0);
        }
        if (leak > 0)
            for (int64_t pixel = 0; pixel < area; ++pixel) reference[pixel] -= leak * pixels.on[pixel];
        const int64_t start = step * film.interval;
        for (; noise != noise_end && noise->t < start + film.interval; ++noise) keys.push_back(key(noise->t - start, noise->y * pixels.size.width + noise->x, noise->p));
        append_sorted(events, keys, start, uint32_t(pixels.size.width));
        before = after;
    }
    return events;
}

}  // namespace lmht::events
