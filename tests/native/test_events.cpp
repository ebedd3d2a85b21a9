#include <cmath>
#include <numeric>
#include <random>
#include <span>

#include "check.hpp"
#include "events/core/bins.hpp"
#include "events/core/filters.hpp"
#include "events/core/frames.hpp"
#include "events/core/logarithm.hpp"
#include "events/core/pixels.hpp"
#include "events/core/validator.hpp"

using namespace lmht::events;

namespace {

Event at(int64_t t, uint16_t x = 0, uint16_t y = 0, uint8_t p = 0) {
    return {t, x, y, p};
}

std::vector<int64_t> times_of(const std::vector<Event>& events) {
    std::vector<int64_t> times;
    for (const Event event : events) times.push_back(int64_t(event.t));  // fields are unaligned
    return times;
}

// FNV-1a of the bytes.
template <class T>
uint64_t digest(const std::vector<T>& values) {
    uint64_t hash = 0xcbf29ce484222325;
    for (const std::byte byte : std::as_bytes(std::span(values)))
        hash = (hash ^ uint64_t(byte)) * 0x100000001b3;
    return hash;
}

}  // namespace

TEST(scaled_addresses_are_the_quotient) {
    for (int64_t from : {1, 2, 3, 7, 34, 128, 1279, 1280, 65535, 65536})
        for (int64_t to : {int64_t(1), int64_t(2), from / 3, from / 2, from - 1, from}) {
            if (to < 1 || to > from) continue;
            const Scaled scaled(from, to);
            int64_t wrong = 0;
            for (int64_t address = 0; address < from; ++address)
                wrong += int64_t(scaled(uint16_t(address))) != address * to / from;
            CHECK_EQUAL(wrong, 0);
        }
    const int64_t largest = (int64_t(1) << 31) - 1;
    for (int64_t address : {0, 1, 65535})
        CHECK_EQUAL(int64_t(Scaled(largest, largest - 1)(uint16_t(address))),
                    address * (largest - 1) / largest);
}

TEST(counts_are_those_of_a_loop) {
    std::mt19937 generator(1);
    const Size sensor{34, 45}, size{17, 11};
    std::vector<Event> events;
    for (int i = 0; i < 5000; ++i)
        events.push_back(at(i, generator() % 45, generator() % 34, generator() % 2));
    std::vector<int64_t> cells(2 * 17 * 11, 3), expected = cells;
    CHECK_EQUAL(add(events.data(), events.size(), sensor, size, cells.data()), events.size());
    for (const Event& e : events) ++expected[(e.p * 17 + e.y * 17 / 34) * 11 + e.x * 11 / 45];
    CHECK_EQUAL(cells, expected);
}

TEST(events_beside_the_sensor_are_not_counted) {
    const Size sensor{3, 4};
    for (const Event& bad :
         {Event{0, 4, 0, 0}, {0, 0, 3, 0}, {0, 0, 0, 2}, {0, 65535, 65535, 255}}) {
        const std::vector<Event> events{at(0, 1, 1, 1), bad, at(1, 1, 1, 1)};
        std::vector<int64_t> cells(2 * 3 * 4), expected = cells;
        CHECK_EQUAL(add(events.data(), events.size(), sensor, sensor, cells.data()), 1u);
        expected[(1 * 3 + 1) * 4 + 1] = 1;
        CHECK_EQUAL(cells, expected);
    }
}

TEST(first_event_at_a_time) {
    const std::vector<Event> events{at(-5), at(0), at(0), at(3), at(7)};
    for (int64_t time = -6; time <= 8; ++time) {
        size_t expected = 0;
        while (expected < events.size() && events[expected].t < time) ++expected;
        CHECK_EQUAL(first_at(events.data(), events.size(), time), expected);
    }
    CHECK_EQUAL(first_at(nullptr, 0, 0), 0u);
}

TEST(each_fault_is_named) {
    const Size sensor{3, 4};
    const WideEvent good{10, 3, 2, 1};
    CHECK_EQUAL(fault(good, sensor, 10), none);
    CHECK_EQUAL(fault(good, sensor, 11), order);
    for (const WideEvent& bad : {WideEvent{10, 4, 2, 1},
                                 {10, -1, 2, 1},
                                 {10, 3, 3, 1},
                                 {10, 3, -1, 1},
                                 {MAX_TIME + 1, 3, 2, 1},
                                 {-MAX_TIME - 1, 3, 2, 1}})
        CHECK_EQUAL(fault(bad, sensor, 0), range);
    for (int64_t p : {-1, 2}) CHECK_EQUAL(fault(WideEvent{10, 3, 2, p}, sensor, 0), polarity);
}

TEST(events_without_a_fault_are_kept_in_order) {
    const Size sensor{3, 4};
    const std::vector<WideEvent> given{{5, 0, 0, 0}, {4, 0, 0, 0}, {5, 9, 0, 0},
                                       {5, 0, 0, 7}, {6, 1, 2, 1}, {5, 0, 0, 0}};
    CHECK_EQUAL(first_fault(given.data(), given.size(), sensor, 0), 1u);
    std::vector<Event> kept(given.size());
    Sifter sifter(sensor, -1);
    CHECK_EQUAL(sifter.sift(given.data(), given.size(), 0, kept.data()) - kept.data(), 2);
    CHECK_EQUAL(sifter.dropped()[range], 1);
    CHECK_EQUAL(sifter.dropped()[polarity], 1);
    CHECK_EQUAL(sifter.dropped()[order], 2);
    kept.resize(2);
    CHECK_EQUAL(times_of(kept), (std::vector<int64_t>{5, 6}));
    CHECK_EQUAL(first_fault(kept.data(), 2, sensor, 0), 2u);
}

TEST(a_jump_is_held_until_it_is_confirmed_or_refuted) {
    const Size sensor{3, 4};
    std::vector<Event> kept(16);
    Sifter sifter(sensor, 100);
    const auto sift = [&](std::vector<Event> events, int64_t expected = -MAX_TIME) {
        const Event* end = sifter.sift(events.data(), events.size(), expected, kept.data());
        return times_of({kept.data(), kept.data() + (end - kept.data())});
    };
    using Times = std::vector<int64_t>;
    CHECK_EQUAL(sift({at(900)}), Times{});       // the first event is held, too
    CHECK_EQUAL(sift({at(5), at(6)}), Times{});  // and refuted
    CHECK_EQUAL(sifter.dropped()[order], 1);
    CHECK_EQUAL(sift({at(7), at(999), at(1000), at(8)}), (Times{5, 6, 7, 8}));
    CHECK_EQUAL(sifter.dropped()[order], 3);
    CHECK_EQUAL(sift({at(500), at(9999)}), Times{});  // a jump after a jump
    CHECK_EQUAL(sift({at(501), at(450)}), (Times{500, 501}));
    CHECK_EQUAL(sifter.dropped()[order], 5);
    CHECK_EQUAL(sift({at(700)}, 700), Times{700});  // expected at this time
    CHECK_EQUAL(sift({at(900), at(901)}), Times{});
    CHECK_EQUAL(sifter.held(), 2u);
    CHECK_EQUAL(sifter.release(kept.data()) - kept.data(), 2);
    CHECK_EQUAL(sifter.held(), 0u);
    CHECK_EQUAL(sift({at(902)}), Times{902});
}

TEST(filters_keep_what_they_say) {
    const Size sensor{3, 4};
    std::vector<Event> kept(8);
    const auto apply = [&](Filter& filter, std::vector<Event> events) {
        const Event* end = filter.apply(events.data(), events.size(), kept.data());
        return times_of({kept.data(), kept.data() + (end - kept.data())});
    };
    using Times = std::vector<int64_t>;
    BackgroundActivityFilter activity(sensor, 10);
    CHECK_EQUAL(apply(activity, {at(0, 1, 1), at(1, 1, 1), at(11, 2, 2), at(21, 3, 0)}), Times{11});
    CHECK_EQUAL(apply(activity, {at(31, 2, 1), at(41, 3, 1), at(52, 3, 2)}), (Times{31, 41}));
    RefractoryFilter refractory(sensor, 10);
    CHECK_EQUAL(apply(refractory, {at(0), at(9), at(10), at(11, 1), at(19), at(20)}),
                (Times{0, 10, 11, 20}));
}

TEST(frames_are_interpolated) {
    const std::vector<float> scene{0, 1, 2, 10, 11, 12, 20, 21, 22};  // 10 · row + column
    const std::vector<float> rows{0, 1.5f}, columns{0.25f, 1.75f};
    std::vector<float> frames(4);
    move({scene.data(), 3}, {rows.data(), columns.data()}, 1, 2, 2, frames.data());
    CHECK_EQUAL(frames, (std::vector<float>{0.25f, 1.75f, 15.25f, 16.75f}));
}

TEST(a_rising_level_sends_an_event_at_each_threshold) {
    const std::vector<float> levels{0, 1};
    const std::vector<int64_t> order{0, 1}, times{0, 1000};
    const float off = 0.5f, on = 0.25f;
    const Pixels pixels{{1, 1}, &off, &on, 0, 0, 0};
    const auto events = emulate({levels.data(), order.data(), times.data(), 2}, pixels, nullptr, 0);
    CHECK_EQUAL(times_of(events), (std::vector<int64_t>{250, 500, 750, 1000}));
    for (const Event& event : events) CHECK_EQUAL(event.p, 1);
}

TEST(noise_keeps_its_time_and_a_busy_readout_loses_events) {
    const std::vector<int64_t> order{0, 1}, times{0, 1000};
    const std::vector<float> thresholds{1, 1};
    const std::vector<Event> noise{at(10, 0), at(10, 1), at(11, 0), at(900, 1, 0, 1)};
    Pixels pixels{{1, 2}, thresholds.data(), thresholds.data(), 0, 0, 0};
    const std::vector<float> still(4);
    const FrameSequence frames{still.data(), order.data(), times.data(), 2};
    CHECK_EQUAL(times_of(emulate(frames, pixels, noise.data(), 4)),
                (std::vector<int64_t>{10, 10, 11, 900}));
    pixels.readout = 1;
    CHECK_EQUAL(times_of(emulate(frames, pixels, noise.data(), 4)),
                (std::vector<int64_t>{10, 11, 900}));
}

// Digests are literals: `make aarch64` runs these tests on another architecture.
TEST(logarithms_are_close_and_the_same_on_every_processor) {
    std::vector<float> found;
    double worst = 0;
    for (float x = 1e-37f; x < 1e38f; x *= 1.0009f) {
        found.push_back(logarithm(x));
        worst = std::max(worst, std::abs(found.back() / std::log(double(x)) - 1));
    }
    CHECK(worst < 2e-7);
    CHECK_EQUAL(digest(found), 18291335134089496544u);
    CHECK_EQUAL(logarithm(1), 0.0f);
}

TEST(events_are_the_same_on_every_processor) {
    constexpr size_t SIDE = 40, SIZE = 24, STEPS = 5;
    std::vector<float> scene, rows, columns, frames(STEPS * SIZE * SIZE);
    for (size_t i = 0; i < SIDE * SIDE; ++i) scene.push_back(float(i * i * 7 % 1009) / 1008);
    for (size_t step = 0; step < STEPS; ++step)
        for (size_t i = 0; i < SIZE; ++i) {
            rows.push_back(1.1f * float(step) + 1.3f * float(i));
            columns.push_back(6 - 1.2f * float(step) + 1.3f * float(i));
        }
    move({scene.data(), SIDE}, {rows.data(), columns.data()}, STEPS, SIZE, SIZE, frames.data());
    for (float& value : frames) value = logarithm(value + 0.01f);
    std::vector<int64_t> order(STEPS), times(STEPS);
    std::iota(order.begin(), order.end(), 0);
    for (size_t step = 0; step < STEPS; ++step) times[step] = int64_t(step) * 3001;
    std::vector<float> thresholds;
    for (size_t i = 0; i < SIZE * SIZE; ++i) thresholds.push_back(0.1f + float(i % 17) / 300);
    const Pixels pixels{{SIZE, SIZE}, thresholds.data(), thresholds.data(), 30.5, 1e-6, 0.7};
    const auto events =
        emulate({frames.data(), order.data(), times.data(), STEPS}, pixels, nullptr, 0);
    CHECK_EQUAL(events.size(), 5005u);
    CHECK_EQUAL(digest(events), 9889186791417355165u);
}
