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
    const size_t pitch = size_t(g.row_step) * in.pitch * in.words;
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

// The same where all values of a position fit one word: packed counts of few channels. A position
// takes one store, of which the next one overwrites what is too much.
inline void fill_words(const GatherRow& g) {
    const RowInputs& into = *g.into;
    const Spikes& in = *g.source;
    uint8_t* at = into.dense + g.block * into.dense_pitch;
    const Inside inside = rows_inside(g);
    const size_t pitch = size_t(g.row_step) * in.pitch * in.words;
    const int bits = 8 * g.channels;
    const uint64_t channels = ~uint64_t(0) >> (64 - bits);
    uint64_t all = 0;
    for (int position = 0; position < into.positions; ++position) {
        uint64_t values = 0;
        if (const int x = g.columns[position]; x >= 0) {
            const uint64_t* word = in.packed + inside.origin + size_t(x) * in.words;
            for (int ky = inside.ky0; ky < inside.ky1; ++ky, word += pitch)
                values |= (*word & channels) << (bits * ky);
        }
        memcpy(at, &values, sizeof values);
        at += g.channels * g.kernel_height;
        all |= values;
    }
    g.into->packed |= all;
}

template <class Tier>
void fill(const GatherRow& g) {
#if !defined(__wasm__)  // the module is to be small
    if (g.source->format == Format::Packed && g.channels * g.kernel_height <= 8)
        return fill_words(g);
#endif
    if (g.source->format == Format::Packed)
        fill_slots<Tier, true>(g);
    else
        fill_slots<Tier, false>(g);
}

}  // namespace
}  // namespace lmht
