// Reading and writing the values k of one word of 64 channels.
#pragma once
#include "portable.hpp"

namespace lmht {
namespace {

// Value k of channel c of word `at`, which the mask marks as active.
LMHT_INLINE int32_t value_of(const Spikes& spikes, size_t at, int c) {
    switch (spikes.format) {
        case Format::Wide:
            return spikes.wide[at * LANES + c];
        case Format::Counts:
            return spikes.count[at * LANES + c];
        case Format::Packed:
            return int32_t(spikes.packed[at] >> (8 * c) & 255);
        default:
            return 1;
    }
}

// Calls visit(c) for every bit c that is set, from the lowest on.
template <class Visit>
LMHT_INLINE void for_each_bit(uint64_t mask, Visit visit) {
    for (; mask; mask &= mask - 1) visit(__builtin_ctzll(mask));
}

// The 64 values k of word `at`.
void read_values(const Spikes& spikes, size_t at, int32_t* k) {
    if (spikes.format == Format::Wide) {
        memcpy(k, spikes.wide + at * LANES, LANES * sizeof *k);
    } else if (spikes.format == Format::Counts) {
        for (int c = 0; c < LANES; ++c) k[c] = spikes.count[at * LANES + c];
    } else {
        memset(k, 0, LANES * sizeof *k);
        for_each_bit(spikes.mask[at], [&](int c) { k[c] = value_of(spikes, at, c); });
    }
}

void write_values(const Spikes& spikes, size_t at, const int32_t* k) {
    uint64_t mask = 0;
    for (int c = 0; c < LANES; ++c) mask |= uint64_t(k[c] != 0) << c;
    spikes.mask[at] = mask;
    if (spikes.format == Format::Wide) memcpy(spikes.wide + at * LANES, k, LANES * sizeof *k);
    if (spikes.format == Format::Counts)
        for (int c = 0; c < LANES; ++c) spikes.count[at * LANES + c] = uint8_t(k[c]);
    if (spikes.format == Format::Packed) {
        spikes.packed[at] = 0;
        for (int c = 0; c < PACKED_CHANNELS; ++c)
            spikes.packed[at] |= uint64_t(uint8_t(k[c])) << (8 * c);
    }
}

// The same of a layer of neurons, whose counts are not negative. Their spikes are never packed.
template <class Tier>
LMHT_INLINE void write_lanes(const Spikes& spikes, size_t at, const Lanes& k) {
    Lanes left = k;
    spikes.mask[at] = Tier::fire(left, splat(1));
    if (spikes.format == Format::Wide) store(k, spikes.wide + at * LANES);
    if (spikes.format == Format::Counts) Tier::narrow(k, spikes.count + at * LANES);
}

}  // namespace
}  // namespace lmht
