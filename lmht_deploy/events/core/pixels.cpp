#include "pixels.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace lmht::events {
namespace {

// One pixel in one interval: its level is before + share·change, share within 0..1. The leak counts
// as a rise of the level.
struct Course {
    float before, change, off, on, refractory;  // refractory: a share of the interval

    // Sends (share, polarity) of every crossing of a threshold. `reference` is the level that they
    // count from, `blind` the share at which the pixel, in reset since its last event, sees again
    // and takes a new reference; both are left as they are at the interval's end.
    template <class Send>
    void run(float& reference, float& blind, const Send& send) const {
        if (blind >= 1) return;
        if (blind > 0) reference = before + blind * change;
        const bool rises = change > 0;
        const float step = rises ? on : -off, pace = step / change + refractory;
        float share = std::max(blind, (reference + step - before) / change);
        blind = 0;
        if (change == 0 || share > 1) return;
        for (; share <= 1; share += pace) {
            send(share, rises);
            blind = share + refractory;
        }
        reference = before + std::min(blind, 1.0f) * change;
        if (blind <= 1) blind = 0;
    }
};

constexpr int TICKS = 16;  // a microsecond: fine enough for the readout

// The events of one interval, put in order of time by a radix sort: they come pixel by pixel, and
// it keeps that order within a tick.
class Sorter {
public:
    struct Key {
        uint32_t time;  // in TICKS a microsecond
        uint32_t pixel : 31, polarity : 1;
    };

    void add(float time, uint32_t pixel, bool polarity) {
        keys_.push_back({uint32_t(time * TICKS), pixel, polarity});
    }

    // All of them, which lie within 0..interval (us), in order; to be cleared before the next
    // interval.
    std::vector<Key>& sorted(int64_t interval) {
        for (int shift = 0; interval * TICKS >> shift; shift += BITS) sort_by(shift);
        return keys_;
    }

private:
    static constexpr int BITS = 11;
    static constexpr uint32_t MASK = (1 << BITS) - 1;

    void sort_by(int shift) {
        std::array<uint32_t, MASK + 1> ends{};
        for (const Key& key : keys_) ++ends[key.time >> shift & MASK];
        uint32_t total = 0;
        for (uint32_t& end : ends) end = total += end;
        sorted_.resize(keys_.size());
        for (size_t index = keys_.size(); index-- > 0;)
            sorted_[--ends[keys_[index].time >> shift & MASK]] = keys_[index];
        keys_.swap(sorted_);
    }

    std::vector<Key> keys_, sorted_;
};

// Moves to the front those of an interval's events that find the readout free, and gives their
// number; `free` is when it is done with the last one. Times in ticks. Without a branch, which
// would be guessed wrong too often.
size_t read_out(std::vector<Sorter::Key>& keys, double start, double busy, double& free) {
    size_t sent = 0;
    for (const Sorter::Key key : keys) {
        const double time = start + key.time;
        keys[sent] = key;
        sent += time >= free;
        free = time >= free ? time + busy : free;
    }
    return sent;
}

// Lists in `active` the pixels that reach a threshold in an interval that ends with the levels
// `after`, or are in reset; without a branch, as above.
size_t find_active(const float* __restrict after, const float* __restrict reference,
                   const float* __restrict blind, const Pixels& pixels, float leak,
                   uint32_t* __restrict active) {
    size_t found = 0;
    for (uint32_t pixel = 0; pixel < uint32_t(pixels.size.height * pixels.size.width); ++pixel) {
        const float difference = after[pixel] - reference[pixel] + leak * pixels.on[pixel];
        active[found] = pixel;
        found += (difference >= pixels.on[pixel]) | (difference <= -pixels.off[pixel]) |
                 (blind[pixel] > 0);
    }
    return found;
}

}  // namespace

std::vector<Event> emulate(const Film& film, const Pixels& pixels, const Event* noise,
                           int64_t noise_count) {
    const int64_t area = pixels.size.height * pixels.size.width;
    const float* before = film.levels + film.order[0] * area;
    std::vector<float> reference(before, before + area),
        blind(area, 0.0f);  // blind: microseconds of reset that are left
    std::vector<uint32_t> active(area);
    std::vector<std::pair<uint16_t, uint16_t>> places;  // (x, y) by pixel
    for (int64_t y = 0; y < pixels.size.height; ++y)
        for (int64_t x = 0; x < pixels.size.width; ++x)
            places.push_back({uint16_t(x), uint16_t(y)});
    Sorter sorter;
    std::vector<Event> events;
    double free = 0;  // when the readout is done with the last event
    const Event* const noise_end = noise + noise_count;
    for (int64_t step = 0; step + 1 < film.count; ++step) {
        const float* after = film.levels + film.order[step + 1] * area;
        const int64_t start = film.times[step], end = film.times[step + 1];
        const float interval = float(end - start), leak = float(pixels.leak) * interval,
                    refractory = float(pixels.refractory) / interval;
        const size_t number =
            find_active(after, reference.data(), blind.data(), pixels, leak, active.data());
        for (size_t index = 0; index < number; ++index) {
            const uint32_t pixel = active[index];
            const float on = pixels.on[pixel];
            const Course course{before[pixel], after[pixel] - before[pixel] + leak * on,
                                pixels.off[pixel], on, refractory};
            float sees = blind[pixel] / interval;
            course.run(reference[pixel], sees, [&](float share, bool polarity) {
                sorter.add(share * interval, pixel, polarity);
            });
            blind[pixel] = std::max(sees - 1, 0.0f) * interval;
        }
        if (leak > 0)
            for (int64_t pixel = 0; pixel < area; ++pixel)
                reference[pixel] -= leak * pixels.on[pixel];
        for (; noise != noise_end && noise->t < end; ++noise)
            sorter.add(float(noise->t - start), uint32_t(noise->y * pixels.size.width + noise->x),
                       noise->p);
        std::vector<Sorter::Key>& keys = sorter.sorted(end - start);
        keys.resize(read_out(keys, double(start) * TICKS, pixels.readout * TICKS, free));
        for (const Sorter::Key& key : keys) {
            const auto [x, y] = places[key.pixel];
            events.push_back({start + key.time / TICKS, x, y, uint8_t(key.polarity)});
        }
        keys.clear();
        before = after;
    }
    return events;
}

}  // namespace lmht::events
