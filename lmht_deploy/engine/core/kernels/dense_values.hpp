// The values of all inputs under one output row, for Path::Dense: a byte per slot, in the order of
// the slots and without gaps.
//
//     position 0                 position 1                 ...
//     [ky 0][ky 1][ky 2]         [ky 0][ky 1][ky 2]
//     each [..]: k of channels channel0 .. channel0 + channels - 1; zeros in the padding
#pragma once
#include "lists.hpp"

namespace lmht {
namespace {

// k[c] = bit c of the mask.
template <class Tier>
LMHT_INLINE void put_bits(uint64_t mask, uint8_t* k) {
    typename Tier::Counts counts;
    Tier::count(counts, mask);
    Tier::put(counts, k);
}

// The bytes of the channels of one place; `word` is its first word, unless it lies in the padding.
// Each store may spill over what follows it.
template <class Tier, bool PACKED>
LMHT_INLINE void fill_place(const GatherRow& g, bool inside, size_t word, uint8_t* at) {
    const Spikes& in = *g.source;
    if (PACKED) {
        const uint64_t counts = inside ? in.packed[word] : 0;
        memcpy(at, &counts, sizeof counts);
        g.into->packed |= counts;
        return;
    }
    for (int c = 0; c < g.channels; c += LANES) {
        if (!inside)
            memset(at + c, 0, LANES);
        else if (in.format == Format::Counts)
            memcpy(at + c, in.count + (word + c / LANES) * LANES, LANES);
        else
            put_bits<Tier>(in.mask[word + c / LANES], at + c);
    }
}

template <class Tier, bool PACKED>
void fill_slots(const GatherRow& g) {
    const RowInputs& into = *g.into;
    const Spikes& in = *g.source;
    uint8_t* at = into.dense + g.block * into.dense_pitch;
    const Inside inside = rows_inside(g);
    const size_t pitch = size_t(g.row_step) * in.width * in.words;
    for (int position = 0; position < into.positions; ++position) {
        const int x = g.columns[position];
        size_t word = inside.origin + size_t(x) * in.words + g.channel0 / LANES;
        for (int ky = 0; ky < g.kernel_height; ++ky, at += g.channels) {
            const bool is_inside = x >= 0 && ky >= inside.ky0 && ky < inside.ky1;
            fill_place<Tier, PACKED>(g, is_inside, word, at);
            if (is_inside) word += pitch;
        }
    }
}

template <class Tier>
void fill(const GatherRow& g) {
    if (g.source->format == Format::Packed)
        fill_slots<Tier, true>(g);
    else
        fill_slots<Tier, false>(g);
}

}  // namespace
}  // namespace lmht
