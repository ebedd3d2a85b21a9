#include "pixels.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace lmht::events {
namespace {

// One pixel in one interval between two frames: its level is before + share · change, with a share
// of the interval within 0..1. The leak counts as a rise of the level.
struct PixelTrajectory {
    float before, change, off, on, refractory;  // refractory: a share of the interval

    // Calls send(share, polarity) at each crossing of a threshold. `reference` is the level that
    // thresholds count from. `blind` is the share at which a pixel that is in reset sees again and
    // takes a new reference. Both are left as they are at the end of the interval.
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

constexpr int TICKS = 16;  // per microsecond: fine enough for the readout

// Puts the events of one interval in order of time, by a radix sort. Events are added pixel by
// pixel; the sort is stable, so this order remains within a tick.
class Sorter {
public:
    struct Key {
        uint32_t time;  // in ticks
        uint32_t pixel : 31, polarity : 1;
    };

    void add(float time, uint32_t pixel, bool polarity) {
        keys_.push_back({uint32_t(time * TICKS), pixel, polarity});
    }

    // All events in order; their times lie within 0..interval (us). To be cleared before the next
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

// Keeps the events of an interval that find the readout free, at the front, and returns their
// number. `free` is the time at which the readout is done with its last event. Times in ticks.
// Without a branch, which would often be predicted wrongly.
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

// Lists in `active` the pixels that reach a threshold by the end of an interval, with the levels
// `after`, or that are in reset. Without a branch, as above.
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

// One interval between two frames.
struct Interval {
    const float *before, *after;     // levels [height, width]
    int64_t start, end;              // microseconds
    float length, leak, refractory;  // us; thresholds of ON per interval; a share of the interval
};

// The state of the sensor from interval to interval.
class Emulator {
public:
    Emulator(const FrameSequence& frames, const Pixels& pixels, const Event* noise,
             int64_t noise_count)
        : frames_(frames),
          pixels_(pixels),
          area_(pixels.size.height * pixels.size.width),
          noise_(noise),
          noise_end_(noise + noise_count),
          reference_(frame(0), frame(0) + area_),
          blind_(area_),
          active_(area_) {
        for (int64_t y = 0; y < pixels.size.height; ++y)
            for (int64_t x = 0; x < pixels.size.width; ++x)
                addresses_.push_back({uint16_t(x), uint16_t(y)});
    }

    std::vector<Event> run() && {
        for (int64_t step = 0; step + 1 < frames_.count; ++step) {
            const Interval now = interval(step);
            cross_thresholds(now);
            if (now.leak > 0) leak(now);
            add_noise(now);
            send(now);
        }
        return std::move(events_);
    }

private:
    const float* frame(int64_t step) const { return frames_.levels + frames_.order[step] * area_; }

    Interval interval(int64_t step) const {
        const int64_t start = frames_.times[step], end = frames_.times[step + 1];
        const float length = float(end - start);
        return {frame(step),
                frame(step + 1),
                start,
                end,
                length,
                float(pixels_.leak) * length,
                float(pixels_.refractory) / length};
    }

    void cross_thresholds(Interval now) {
        const size_t n = find_active(now.after, reference_.data(), blind_.data(), pixels_, now.leak,
                                     active_.data());
        for (size_t index = 0; index < n; ++index) {
            const uint32_t pixel = active_[index];
            const float on = pixels_.on[pixel];
            const PixelTrajectory trajectory{now.before[pixel],
                                             now.after[pixel] - now.before[pixel] + now.leak * on,
                                             pixels_.off[pixel], on, now.refractory};
            float blind = blind_[pixel] / now.length;
            trajectory.run(reference_[pixel], blind, [&](float share, bool polarity) {
                sorter_.add(share * now.length, pixel, polarity);
            });
            blind_[pixel] = std::max(blind - 1, 0.0f) * now.length;
        }
    }

    // The level of the next interval begins at the frame again, so the reference takes the leak.
    void leak(Interval now) {
        for (int64_t pixel = 0; pixel < area_; ++pixel)
            reference_[pixel] -= now.leak * pixels_.on[pixel];
    }

    void add_noise(Interval now) {
        for (; noise_ != noise_end_ && noise_->t < now.end; ++noise_)
            sorter_.add(float(noise_->t - now.start),
                        uint32_t(noise_->y * pixels_.size.width + noise_->x), noise_->p);
    }

    void send(Interval now) {
        std::vector<Sorter::Key>& keys = sorter_.sorted(now.end - now.start);
        keys.resize(read_out(keys, double(now.start) * TICKS, pixels_.readout * TICKS, free_));
        for (const Sorter::Key& key : keys) {
            const auto [x, y] = addresses_[key.pixel];
            events_.push_back({now.start + key.time / TICKS, x, y, uint8_t(key.polarity)});
        }
        keys.clear();
    }

    const FrameSequence& frames_;
    const Pixels& pixels_;
    const int64_t area_;
    const Event* noise_;  // the next one
    const Event* const noise_end_;
    std::vector<float> reference_;  // by pixel: the level that thresholds count from
    std::vector<float> blind_;      // by pixel: microseconds of reset that are left
    std::vector<uint32_t> active_;
    std::vector<std::pair<uint16_t, uint16_t>> addresses_;  // (x, y) by pixel
    Sorter sorter_;
    std::vector<Event> events_;
    double free_ = 0;  // the tick at which the readout is done with its last event
};

}  // namespace

std::vector<Event> emulate(const FrameSequence& frames, const Pixels& pixels, const Event* noise,
                           int64_t noise_count) {
    return Emulator(frames, pixels, noise, noise_count).run();
}

}  // namespace lmht::events
