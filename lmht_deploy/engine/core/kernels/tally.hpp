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

// Entries of `pixels` pixels from (step, y, x) on that are not 0.
template <class Tier>
LMHT_NOINLINE int64_t events_of(const Spikes& spikes, int step, int y, int x, int pixels) {
    return Tier::popcount(spikes.mask + spikes.word(step, y, x), pixels * spikes.words);
}

// The sum of their k.
template <class Tier>
LMHT_NOINLINE int64_t spikes_of(const Spikes& spikes, int step, int y, int x, int pixels) {
    const size_t at = spikes.word(step, y, x);
    const int words = pixels * spikes.words;
    if (spikes.format == Format::Packed)
        return Tier::sum_of_bytes(reinterpret_cast<const uint8_t*>(spikes.packed + at), words);
    if (spikes.format == Format::Counts)
        return Tier::sum_of_bytes(spikes.count + at * LANES, words * LANES / 8);
    int64_t sum = 0;
    for (int i = 0; i < words * LANES; ++i) sum += spikes.wide[at * LANES + i];
    return sum;
}

// The same of all steps. Of binary spikes, `events_of` is both.
template <class Tier>
LMHT_INLINE int64_t all_events_of(const Spikes& spikes, int y, int x, int pixels) {
    int64_t sum = 0;
    for (int step = 0; step < spikes.steps; ++step)
        sum += events_of<Tier>(spikes, step, y, x, pixels);
    return sum;
}

template <class Tier>
LMHT_INLINE int64_t all_spikes_of(const Spikes& spikes, int y, int x, int pixels) {
    if (spikes.format == Format::Binary) return all_events_of<Tier>(spikes, y, x, pixels);
    int64_t sum = 0;
    for (int step = 0; step < spikes.steps; ++step)
        sum += spikes_of<Tier>(spikes, step, y, x, pixels);
    return sum;
}

// Row y: events from `steps`, and the sum of k from `sums`, which has the same steps or sums of
// them. Returns the events.
//
// A layer that fires windows at once has no steps: both are the window, where a neuron counts once
// for several spikes. If its steps would be binary, `into.events` and `into.spikes` are one array,
// and the events of the steps are the spikes.
template <class Tier>
int64_t tally(const Spikes& steps, const Spikes& sums, const Tally& into, int y) {
    const bool same = into.events == into.spikes;
    int64_t active = 0;
    uint64_t active_steps = 0;
    for (int step = 0; step < steps.steps; ++step) {
        const int64_t events = events_of<Tier>(steps, step, y, 0, steps.width);
        if (events) active_steps |= step_bit(step);
        active += events;
    }
    const int64_t spikes =
        sums.format == Format::Binary ? active : all_spikes_of<Tier>(sums, y, 0, sums.width);
    into.row_active_steps[y] = active_steps;
    into.row_spikes[y] = spikes;
    into.row_events[y] = same ? spikes : active;
    for (int i = 0; i < into.n_columns; ++i) {
        const int x = into.columns[i];
        const size_t at = size_t(y) * steps.width + x;
        into.spikes[at] = all_spikes_of<Tier>(sums, y, x, 1);
        if (!same) into.events[at] = all_events_of<Tier>(steps, y, x, 1);
    }
    if (sums.format == Format::Binary)
        tally_shared(steps, into.row_shared + size_t(y) * (steps.steps / 2), y);
    return active;
}

}  // namespace
}  // namespace lmht
