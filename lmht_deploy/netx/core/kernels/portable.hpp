// The kernels in vector extensions of GCC and Clang, eight lanes at a time. Included by one translation unit a tier;
// everything is local to it, so that no function of one tier is linked into another.
#pragma once
#include <cstring>

#include "../kernels.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define LMHT_INLINE inline __attribute__((always_inline))

namespace lmht::netx {
namespace {

typedef int32_t I32 __attribute__((vector_size(4 * LANES)));
typedef uint32_t U32 __attribute__((vector_size(4 * LANES)));
typedef int16_t I16 __attribute__((vector_size(2 * LANES)));
typedef uint8_t U8 __attribute__((vector_size(LANES)));

constexpr int32_t HALF = 1 << 23;  // states have 24 bits, sign included
constexpr int STATE_BITS = 6;      // below the unit of a weight
constexpr int DECAY_BITS = 12;

template <class Vector>
LMHT_INLINE Vector load(const void* from) {
    Vector vector;
    memcpy(&vector, from, sizeof vector);
    return vector;
}

LMHT_INLINE void store(int32_t* to, U32 vector) { memcpy(to, &vector, sizeof vector); }

LMHT_INLINE U32 weights_at(const int16_t* from) { return (U32)__builtin_convertvector(load<I16>(from), I32); }
LMHT_INLINE U32 weights_at(const int32_t* from) { return load<U32>(from); }

// ---------------------------------------------------------------------------------------------- neurons

// Lane i's sign bit as bit i.
LMHT_INLINE uint32_t bits(I32 truth) {
#if defined(__AVX2__)
    return uint32_t(_mm256_movemask_ps((__m256)truth));
#else
    uint32_t found = 0;
    for (int i = 0; i < LANES; ++i) found |= uint32_t(truth[i] & 1) << i;
    return found;
#endif
}

// trunc(state * keep / 4096): the product has more than 32 bits, its halves have not.
LMHT_INLINE U32 decay(I32 state, uint32_t keep) {
    const I32 sign = state >> 31;
    const U32 magnitude = (U32)(state ^ sign) - (U32)sign;
    const U32 kept = (magnitude >> DECAY_BITS) * keep + (((magnitude & ((1 << DECAY_BITS) - 1)) * keep) >> DECAY_BITS);
    return (U32)((I32)kept ^ sign) - (U32)sign;
}

// As Lava wraps u: by 2^24, once.
LMHT_INLINE I32 wrap_once(U32 u) {
    const I32 above = (I32)u > HALF, below = (I32)u <= -HALF;
    return (I32)(u - ((U32)above & (2u * HALF)) + ((U32)below & (2u * HALF)));
}

LMHT_INLINE I32 clip(I32 v) {
    v = v > HALF - 1 ? (I32{} + (HALF - 1)) : v;
    return v < 1 - HALF ? (I32{} + (1 - HALF)) : v;
}

// For each mask of eight bits, the numbers of its bits.
struct BitTable {
    uint8_t of[256][LANES] = {};
    constexpr BitTable() {
        for (int mask = 0; mask < 256; ++mask)
            for (int bit = 0, n = 0; bit < LANES; ++bit)
                if (mask >> bit & 1) of[mask][n++] = uint8_t(bit);
    }
};
constexpr BitTable BITS;

// The spikes of eight channels, from bit mask to list, without a branch that follows them.
LMHT_INLINE int list(uint32_t mask, uint32_t at, Spike* spikes) {
    const U32 places = __builtin_convertvector(load<U8>(BITS.of[mask]), U32) + at;
    memcpy(spikes, &places, sizeof places);
    return __builtin_popcount(mask);
}

// `forgets`: nothing of u is kept.
template <bool arrived, bool forgets>
LMHT_INLINE RowResult step(const NeuronRow& row) {
    const Neurons neurons = row.neurons;
    const int last = row.pitch - LANES;
    const uint32_t last_mask = (1u << (row.channels - last)) - 1;  // the padding may fire, unheard
    U32 changed{};
    int n = 0;
    for (int x = 0, at = 0; x < row.width; ++x)
        for (int channel = 0; channel < row.pitch; channel += LANES, at += LANES) {
            const I32 v = load<I32>(row.v + at);
            U32 drive{};
            if constexpr (!forgets) drive = decay(load<I32>(row.u + at), uint32_t(neurons.keep_u));
            if constexpr (arrived) {
                U32 current = load<U32>(row.current + at);
                store(row.current + at, U32{});
                if (neurons.wraps) current = (U32)((I32)(current << 8) >> 8);
                drive += current << STATE_BITS;
            }
            const I32 next_u = wrap_once(drive);
            I32 next_v = clip((I32)(decay(v, uint32_t(neurons.keep_v)) + (U32)next_u + load<U32>(row.bias + at)));
            const I32 fired = next_v > neurons.threshold;
            next_v &= ~fired;
            changed |= (U32)(next_v ^ v) | (forgets ? (U32)next_u : (U32)(next_u ^ load<I32>(row.u + at)));
            store(row.u + at, (U32)next_u);
            store(row.v + at, (U32)next_v);
            n += list(bits(fired) & (channel == last ? last_mask : 255u), uint32_t(at), row.spikes + n);
        }
    return {n, n == 0 && !bits((I32)changed != 0)};
}

RowResult neurons(const NeuronRow& row) {
    if (row.neurons.keep_u == 0) return row.current ? step<true, true>(row) : step<false, true>(row);
    return row.current ? step<true, false>(row) : step<false, false>(row);
}

// ---------------------------------------------------------------------------------------------- synapses

template <bool graded, class Weight>
LMHT_INLINE U32 product(const Weight* weights, int32_t value) {
    const U32 weight = weights_at(weights);
    return graded ? weight * uint32_t(value) : weight;
}

// What the spikes of one input column (sorted; of one group) add to `count` vectors of currents, summed in registers.
template <int count, bool graded, class Weight>
LMHT_INLINE void add_vectors(const ConvolutionRow& row, int begin, int end, int column, const Weight* weights, int32_t* to) {
    U32 sum[count];
    for (int i = 0; i < count; ++i) sum[i] = load<U32>(to + i * LANES);
    for (int s = begin; s < end; ++s) {
        const Weight* from = weights + (row.spikes[s] - column) * row.channel_pitch;
        for (int i = 0; i < count; ++i) sum[i] += product<graded>(from + i * LANES, graded ? row.values[s] : 1);
    }
    for (int i = 0; i < count; ++i) store(to + i * LANES, sum[i]);
}

template <bool graded, class Weight>
LMHT_INLINE void add_column(const ConvolutionRow& row, int begin, int end, int column, const Weight* weights, int32_t* to, int vectors) {
    constexpr int most = 8;
    for (; vectors >= most; vectors -= most, weights += most * LANES, to += most * LANES)
        add_vectors<most, graded>(row, begin, end, column, weights, to);
    switch (vectors) {
        case 1: return add_vectors<1, graded>(row, begin, end, column, weights, to);
        case 2: return add_vectors<2, graded>(row, begin, end, column, weights, to);
        case 3: return add_vectors<3, graded>(row, begin, end, column, weights, to);
        case 4: return add_vectors<4, graded>(row, begin, end, column, weights, to);
        case 5: return add_vectors<5, graded>(row, begin, end, column, weights, to);
        case 6: return add_vectors<6, graded>(row, begin, end, column, weights, to);
        case 7: return add_vectors<7, graded>(row, begin, end, column, weights, to);
    }
}

template <bool graded, class Weight>
void convolve_spikes(const ConvolutionRow& row) {
    const int group = row.blocks * LANES;
    const bool joined = group == row.pitch;  // one group: the channels of neighbouring pixels follow each other
    const auto* weights = static_cast<const Weight*>(row.weights);
    for (int begin = 0, end; begin < row.n; begin = end) {
        const int x = int(row.spikes[begin]) / row.source_pitch, column = x * row.source_pitch, first = row.first[row.spikes[begin] - column];
        // Together: the spikes of one column, if they are of one group.
        for (end = begin + 1; end < row.n && int(row.spikes[end]) < column + row.source_pitch && row.first[row.spikes[end] - column] == first; ++end) {}
        for (int r = row.run_start[x]; r < row.run_start[x + 1]; ++r) {
            const Run run = row.runs[r];
            int32_t* to = row.current + size_t(run.to) * row.pitch + first;
            const Weight* taps = weights + size_t(run.tap) * group;
            if (joined)
                add_column<graded>(row, begin, end, column, taps, to, run.pixels * row.blocks);
            else
                for (int p = 0; p < run.pixels; ++p) add_column<graded>(row, begin, end, column, taps + size_t(p) * group, to + size_t(p) * row.pitch, row.blocks);
        }
    }
}

void convolve(const ConvolutionRow& row) {
    if (row.weight_bytes == 2)
        row.values ? convolve_spikes<true, int16_t>(row) : convolve_spikes<false, int16_t>(row);
    else
        row.values ? convolve_spikes<true, int32_t>(row) : convolve_spikes<false, int32_t>(row);
}

template <class Weight>
LMHT_INLINE void add_row(int32_t* current, const Weight* weights, int blocks, int32_t value) {
    if (value == 1)
        for (int i = 0; i < blocks * LANES; i += LANES) store(current + i, load<U32>(current + i) + weights_at(weights + i));
    else
        for (int i = 0; i < blocks * LANES; i += LANES) store(current + i, load<U32>(current + i) + product<true>(weights + i, value));
}

void add(int32_t* current, const void* weights, int weight_bytes, int blocks, int32_t value) {
    if (weight_bytes == 2)
        add_row(current, static_cast<const int16_t*>(weights), blocks, value);
    else
        add_row(current, static_cast<const int32_t*>(weights), blocks, value);
}

constexpr Kernels table(const char* name) { return {name, neurons, convolve, add}; }

}  // namespace
}  // namespace lmht::netx
