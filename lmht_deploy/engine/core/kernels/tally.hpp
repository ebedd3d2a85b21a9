// The tally of one row of spikes: what counting and the choice of a path need.
#pragma once
#include "values.hpp"

namespace lmht {
namespace {

// Neurons of a row that fire in both steps of a pair, by pair.
void tally_shared(const Spikes& spikes, int64_t* shared, int y) {
    for (int step = 0; step + 1 < spikes.steps; step += 2, ++shared) {
        const uint64_t* const first = spikes.mask + spikes.word(step, y, 0);
        const uint64_t* const second = spikes.mask + spikes.word(step + 1, y, 0);
        int64_t both = 0;
        for (int i = 0; i < spikes.width * spikes.words; ++i)
            both += __builtin_popcountll(first[i] & second[i]);
        *shared = both;
    }
}

// Steps in which a row has spikes, as `step_bit`.
uint64_t active_steps(const Spikes& spikes, int y) {
    uint64_t active = 0;
    for (int step = 0; step < spikes.steps; ++step) {
        const uint64_t* const mask = spikes.mask + spikes.word(step, y, 0);
        uint64_t any = 0;
        for (int i = 0; i < spikes.width * spikes.words; ++i) any |= mask[i];
        if (any) active |= step_bit(step);
    }
    return active;
}

// Active entries per pixel, in all steps.
template <class Tier>
LMHT_INLINE void tally_events(const Spikes& spikes, int64_t* events, int y) {
    const uint64_t* mask = spikes.mask + spikes.word(0, y, 0);
    const size_t step_words = spikes.word(1, 0, 0);
    if (spikes.words == 1)
        return Tier::popcounts(mask, step_words, spikes.steps, spikes.width, events);
    int64_t counts[LANES];
    memset(events, 0, spikes.width * sizeof *events);
    for (int left = spikes.width * spikes.words, word = 0; left > 0; left -= LANES, mask += LANES) {
        const int n = left < LANES ? left : LANES;
        Tier::popcounts(mask, step_words, spikes.steps, n, counts);
        for (int i = 0; i < n; ++i) {
            *events += counts[i];
            if (++word == spikes.words) word = 0, ++events;
        }
    }
}

// The sum of the eight bytes of a word: 16-bit sums of neighbors, whose sum is the top of a
// product.
//
//     bytes      | b7 b6 | b5 b4 | b3 b2 | b1 b0 |
//     pairs      | b7+b6 | b5+b4 | b3+b2 | b1+b0 |   * 0x0001000100010001, >> 48
LMHT_INLINE int64_t sum_of_bytes(uint64_t bytes) {
    constexpr uint64_t EVEN = 0x00ff00ff00ff00ff, ONES = 0x0001000100010001;
    return int64_t(((bytes & EVEN) + (bytes >> 8 & EVEN)) * ONES >> 48);
}

// Sum of k per pixel, in all steps.
template <class Tier>
LMHT_INLINE void tally_spikes(const Spikes& spikes, int64_t* __restrict sums, int y) {
    if (spikes.format == Format::Counts)
        return Tier::sums(spikes.count + spikes.word(0, y, 0) * LANES, spikes.word(1, 0, 0) * LANES,
                          spikes.steps, spikes.words, spikes.width, sums);
    memset(sums, 0, spikes.width * sizeof *sums);
    for (int step = 0; step < spikes.steps; ++step) {
        const size_t at = spikes.word(step, y, 0);
        for (int x = 0; x < spikes.width; ++x)
            if (spikes.format == Format::Packed)
                sums[x] += sum_of_bytes(spikes.packed[at + x]);
            else
                for (int c = 0; c < spikes.words * LANES; ++c)
                    sums[x] += spikes.wide[(at + size_t(x) * spikes.words) * LANES + c];
    }
}

LMHT_INLINE int64_t sum_of(const int64_t* values, int n) {
    int64_t sum = 0;
    for (int i = 0; i < n; ++i) sum += values[i];
    return sum;
}

template <class Tier>
int64_t tally(const Spikes& steps, const Spikes& sums, const Tally& into, int y) {
    int64_t* const events = into.events + size_t(y) * steps.width;
    int64_t* const spikes = into.spikes + size_t(y) * steps.width;
    tally_events<Tier>(steps, events, y);
    const int64_t active = sum_of(events, steps.width);
    if (sums.format == Format::Binary)  // `spikes` are `events`
        tally_shared(steps, into.row_shared + size_t(y) * (steps.steps / 2), y);
    else
        tally_spikes<Tier>(sums, spikes, y);
    into.row_active_steps[y] = steps.steps == 1 ? active > 0 : active_steps(steps, y);
    into.row_spikes[y] = sum_of(spikes, steps.width);
    into.row_events[y] = events == spikes ? into.row_spikes[y] : active;
    return active;
}

}  // namespace
}  // namespace lmht
