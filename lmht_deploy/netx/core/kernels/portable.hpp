// The kernels of all tiers, in the vector extensions of GCC and Clang. Included by one translation
// unit per tier; everything is local to it, so that no function of one tier is linked into another.
#pragma once
#include <cstring>
#include <type_traits>

#include "../kernels.hpp"
#include "native/fixed_point.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define LMHT_INLINE inline __attribute__((always_inline))

namespace lmht::netx {
namespace {

template <class Number, int lanes>
struct VectorOf {
    typedef Number type __attribute__((vector_size(sizeof(Number) * lanes)));
};
template <class Number, int lanes>
using Vector = typename VectorOf<Number, lanes>::type;

#if defined(__AVX512BW__)
constexpr int BYTES = 64;  // of a register
#elif defined(__AVX2__)
constexpr int BYTES = 32;
#else
constexpr int BYTES = 16;
#endif
constexpr int STATES = BYTES / 4;  // neurons of a vector: wider ones are compared lane by lane
constexpr int GROUP = STATES == 16 ? 16 : 8;  // neurons of a mask

typedef Vector<int32_t, STATES> I32;
typedef Vector<uint32_t, STATES> U32;

constexpr int32_t HALF = 1 << 23;  // states have 24 bits, sign included

template <class V>
LMHT_INLINE V load(const void* from) {
    V vector;
    memcpy(&vector, from, sizeof vector);
    return vector;
}

template <class V>
LMHT_INLINE void store(void* to, V vector) {
    memcpy(to, &vector, sizeof vector);
}

// ----------------------------------------------------------------------------------------------
// neurons

// Lane i's sign bit as bit i.
LMHT_INLINE uint32_t bits(I32 truth) {
#if defined(__AVX512BW__)
    return _mm512_movepi32_mask((__m512i)truth);
#elif defined(__AVX2__)
    return uint32_t(_mm256_movemask_ps((__m256)truth));
#elif defined(__x86_64__)
    return uint32_t(_mm_movemask_ps((__m128)truth));
#elif defined(__aarch64__)
    const uint32x4_t bit = {1, 2, 4, 8};
    return vaddvq_u32((uint32x4_t)(truth >> 31) & bit);
#else
    uint32_t found = 0;
    for (int i = 0; i < STATES; ++i) found |= uint32_t(truth[i] < 0) << i;
    return found;
#endif
}

// trunc(state * keep / LEAK_ONE). The product may need more than 32 bits, so the state is split
// into its upper bits and its lowest LEAK_BITS, whose products do not. Shifts round down; to round
// a negative state toward zero, LEAK_ONE - 1 is added first.
//
//   state = upper · 4096 + lower:   state · keep / 4096 = upper · keep + lower · keep / 4096
LMHT_INLINE U32 decay(I32 state, uint32_t keep) {
    constexpr uint32_t low = LEAK_ONE - 1;
    const U32 up = (U32)(state >> 31) & low;
    return (U32)(state >> LEAK_BITS) * keep + ((((U32)state & low) * keep + up) >> LEAK_BITS);
}

// u as Lava wraps it: by 2^24, once. `outside` is where.
LMHT_INLINE I32 wrap_once(U32 u, I32& outside) {
    const I32 above = (I32)u > HALF, below = (I32)u <= -HALF;
    outside |= above | below;
    return (I32)(u - ((U32)above & (2u * HALF)) + ((U32)below & (2u * HALF)));
}

// Where drive + 64 · current leaves 32 bits: the sum without its lowest 8 bits, which fits, differs
// from that of 32 bits.
LMHT_INLINE I32 overflows(I32 drive, I32 current) {
    const I32 low = ((current & 3) << STATE_BITS) + (drive & 255);
    const I32 sum = (I32)((U32)drive + ((U32)current << STATE_BITS));
    return (current >> 2) + (drive >> 8) + (low >> 8) != (sum >> 8);
}

LMHT_INLINE I32 clip(I32 v, I32& outside) {
    const I32 above = v > HALF - 1, below = v < 1 - HALF;
    outside = above | below;
    v = above ? (I32{} + (HALF - 1)) : v;
    return below ? (I32{} + (1 - HALF)) : v;
}

// The number of lanes that were set, of a sum of comparisons, each of which is -1 or 0.
LMHT_INLINE int total(I32 comparisons) {
    int found = 0;
    for (int i = 0; i < STATES; ++i) found -= comparisons[i];
    return found;
}

#if defined(__AVX512BW__)
// Writes the spikes among 16 lanes, from bit mask to list, and returns their number. Without a
// branch, which would depend on the spikes.
LMHT_INLINE int list(uint32_t mask, uint32_t at, Spike* spikes) {
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    _mm512_storeu_si512(
        spikes, _mm512_maskz_compress_epi32(__mmask16(mask),
                                            _mm512_add_epi32(lanes, _mm512_set1_epi32(int(at)))));
    return __builtin_popcount(mask);
}
#else
// For each mask of 8 bits, the positions of its bits.
struct BitTable {
    uint8_t of[256][8] = {};
    constexpr BitTable() {
        for (int mask = 0; mask < 256; ++mask)
            for (int bit = 0, n = 0; bit < 8; ++bit)
                if (mask >> bit & 1) of[mask][n++] = uint8_t(bit);
    }
};
constexpr BitTable BITS;

// The same for 8 lanes.
LMHT_INLINE int list(uint32_t mask, uint32_t at, Spike* spikes) {
    typedef Vector<uint32_t, 8> Eight;
    store(spikes, __builtin_convertvector(load<Vector<uint8_t, 8>>(BITS.of[mask]), Eight) + at);
    return __builtin_popcount(mask);
}
#endif

typedef std::conditional_t<GROUP == 16, uint16_t, uint8_t> Mask;  // a bit per neuron

// Adds 1 to the counts where the mask has a bit. Without AVX-512, by arithmetic on 8 bytes at a
// time. For the mask 0b101:
//
//   mask * each              05 05 05 05 05 05 05 05    a copy per byte
//   & 0x8040201008040201     00 00 00 00 00 04 00 01    byte i keeps bit i
//   + 0x7f7f7f7f7f7f7f7f     7f 7f 7f 7f 7f 83 7f 80    bit 7 is set where a bit was left
//   >> 7 & each              00 00 00 00 00 01 00 01
LMHT_INLINE void count(Mask mask, uint8_t* counts) {
#if defined(__AVX512BW__)
    store(counts, _mm_sub_epi8(load<__m128i>(counts), _mm_movm_epi8(mask)));
#else
    constexpr uint64_t each = 0x0101010101010101;
    const uint64_t bit = (mask * each) & 0x8040201008040201;
    store(counts, load<uint64_t>(counts) + ((bit + 0x7f7f7f7f7f7f7f7f) >> 7 & each));
#endif
}

// One step of a row. `Current` is the type of a current, void where nothing arrives. `forgets`: a
// step leaves nothing of u (keep_u = 0).
//
//   u = wrap(u · keep_u + 64 · current)     v = clip(v · keep_v + u + bias)
//   a neuron fires where v > threshold; then v = 0
template <class Current, bool forgets>
LMHT_INLINE RowResult step(const NeuronRow& row) {
    const Neurons neurons = row.neurons;
    U32 changed{};
    I32 wrapped{}, clipped{};
    int n = 0;
    // The neurons from `at` on; returns those that fire.
    const auto advance = [&](int at) __attribute__((always_inline)) {
        const I32 v = load<I32>(row.v + at);
        U32 drive{};
        I32 outside{};  // where u leaves 24 bits
        if constexpr (!forgets) drive = decay(load<I32>(row.u + at), uint32_t(neurons.keep_u));
        if constexpr (!std::is_void_v<Current>) {
            Current* const arrived = static_cast<Current*>(row.current) + at;
            I32 current = __builtin_convertvector(load<Vector<Current, STATES>>(arrived), I32);
            store(arrived, Vector<Current, STATES>{});
            if constexpr (sizeof(Current) == 4) {
                if (neurons.wraps) {
                    const I32 kept = (I32)((U32)current << 8) >> 8;
                    wrapped += kept != current;
                    current = kept;
                } else {
                    outside = overflows((I32)drive, current);
                }
            }
            drive += (U32)current << STATE_BITS;
        }
        constexpr bool small =
            forgets && (std::is_void_v<Current> || std::is_same_v<Current, int16_t>);
        const I32 next_u = small ? (I32)drive : wrap_once(drive, outside);
        if constexpr (!small) wrapped += outside;
        I32 next_v =
            clip((I32)(decay(v, uint32_t(neurons.keep_v)) + (U32)next_u + load<U32>(row.bias + at)),
                 outside);
        clipped += outside;
        changed |= (U32)outside;  // it is counted again at the next step
        const I32 fired = next_v > neurons.threshold;
        next_v &= ~fired;
        changed |=
            (U32)(next_v ^ v) | (forgets ? (U32)next_u : (U32)(next_u ^ load<I32>(row.u + at)));
        if (!forgets || row.u) store(row.u + at, next_u);
        store(row.v + at, next_v);
        return bits(fired);
    };
    for (int at = 0; at < row.lanes; at += GROUP) {
        uint32_t fired = 0;
        for (int i = 0; i < GROUP; i += STATES) fired |= advance(at + i) << i;
        const Mask spikes = Mask(fired & load<Mask>(row.counted + at / 8));
        store(row.bits + at / 8, spikes);
        count(spikes, row.recent + at);
        n += list(spikes, uint32_t(at), row.spikes + n);
    }
    const bool counts = bits((wrapped | clipped) < 0);
    // A current may have made up for the decay: without one, the next step differs.
    const bool rests = std::is_void_v<Current> && n == 0 && !bits((I32)changed != 0);
    return {n, rests, counts ? total(wrapped) : 0, counts ? total(clipped) : 0};
}

template <class Current>
RowResult step(const NeuronRow& row) {
    return row.neurons.keep_u ? step<Current, false>(row) : step<Current, true>(row);
}

RowResult neurons(const NeuronRow& row) {
    if (!row.current) return step<void>(row);
    return row.current_bytes == 2 ? step<int16_t>(row) : step<int32_t>(row);
}

// ----------------------------------------------------------------------------------------------
// synapses

// `lanes` weights in the type of a current; unsigned, as currents wrap.
template <class Sum, int lanes, class Weight>
LMHT_INLINE Vector<Sum, lanes> weights_at(const Weight* from) {
    if constexpr (sizeof(Sum) == sizeof(Weight))
        return load<Vector<Sum, lanes>>(from);
    else
        return (Vector<Sum, lanes>)__builtin_convertvector(load<Vector<Weight, lanes>>(from),
                                                           Vector<std::make_signed_t<Sum>, lanes>);
}

// Adds the weights of the spikes of one column to `count` vectors of currents, in registers.
template <class Sum, int lanes, int count, bool graded, class Weight>
LMHT_INLINE void add_vectors(const ConvolutionRow& row, Column column, const Weight* weights,
                             Sum* to) {
    typedef Vector<Sum, lanes> Sums;
    Sums sum[count];
    for (int i = 0; i < count; ++i) sum[i] = load<Sums>(to + i * lanes);
    const uint32_t start = uint32_t(column.x * row.source_pitch);
    for (int s = column.begin; s < column.end; ++s) {
        const Weight* from = weights + (row.spikes[s] - start) * row.channel_pitch;
        for (int i = 0; i < count; ++i) {
            const Sums weight = weights_at<Sum, lanes>(from + i * lanes);
            sum[i] += graded ? weight * Sum(row.values[s]) : weight;
        }
    }
    for (int i = 0; i < count; ++i) store(to + i * lanes, sum[i]);
}

// The same for `blocks` of LANES currents: as many vectors at a time as the registers hold, then
// the rest in narrower vectors.
template <class Sum, int lanes, bool graded, class Weight>
LMHT_INLINE void add_column(const ConvolutionRow& row, Column column, const Weight* weights,
                            Sum* to, int blocks) {
    constexpr int most = 8, wide = lanes / LANES;
    if constexpr (wide > 2)  // better once over the spikes with narrower vectors than twice
        if (blocks % wide && blocks < most * wide / 2)
            return add_column<Sum, lanes / 2, graded>(row, column, weights, to, blocks);
    for (; blocks >= most * wide;
         blocks -= most * wide, weights += most * lanes, to += most * lanes)
        add_vectors<Sum, lanes, most, graded>(row, column, weights, to);
    const int vectors = blocks / wide;
    switch (vectors) {
        case 1:
            add_vectors<Sum, lanes, 1, graded>(row, column, weights, to);
            break;
        case 2:
            add_vectors<Sum, lanes, 2, graded>(row, column, weights, to);
            break;
        case 3:
            add_vectors<Sum, lanes, 3, graded>(row, column, weights, to);
            break;
        case 4:
            add_vectors<Sum, lanes, 4, graded>(row, column, weights, to);
            break;
        case 5:
            add_vectors<Sum, lanes, 5, graded>(row, column, weights, to);
            break;
        case 6:
            add_vectors<Sum, lanes, 6, graded>(row, column, weights, to);
            break;
        case 7:
            add_vectors<Sum, lanes, 7, graded>(row, column, weights, to);
            break;
    }
    if constexpr (wide > 1)
        if (blocks % wide)
            add_column<Sum, lanes / 2, graded>(row, column, weights + vectors * lanes,
                                               to + vectors * lanes, blocks % wide);
}

// Any column: also at a border, of one group among several, or with more vectors than
// `convolve_spikes` has a loop for.
template <class Sum, int lanes, bool graded, class Weight>
__attribute__((noinline)) void any_column(const ConvolutionRow& row, Column column) {
    const int group = row.blocks * LANES;
    const bool joined = group == row.pitch;  // one group: pixels have no gaps between them
    for (int r = row.run_start[column.x]; r < row.run_start[column.x + 1]; ++r) {
        const Run run = row.runs[r];
        Sum* to = static_cast<Sum*>(row.current) + size_t(run.output) * row.pitch + column.first;
        const Weight* taps = static_cast<const Weight*>(row.weights) + size_t(run.tap) * group;
        if (joined)
            add_column<Sum, lanes, graded>(row, column, taps, to, run.length * row.blocks);
        else
            for (int p = 0; p < run.length; ++p)
                add_column<Sum, lanes, graded>(row, column, taps + size_t(p) * group,
                                               to + size_t(p) * row.pitch, row.blocks);
    }
}

// `count`: the vectors of currents that a column reaches, if none of its taps is beyond a border.
template <class Sum, int lanes, int count, bool graded, class Weight>
void convolve_columns(const ConvolutionRow& given) {
    const ConvolutionRow row = given;  // a copy, which no store to currents can change
    // Columns next to each other reach overlapping vectors of currents. A load that overlaps a
    // recent store must wait for it, so columns that are `apart` columns apart follow each other.
    for (int phase = 0; phase < row.apart; ++phase)
        for (int i = phase; i < row.n; i += row.apart) {
            const Column column = row.columns[i];
            const int begin = row.run_start[column.x], runs = row.run_start[column.x + 1] - begin;
            if (runs == 1 && row.runs[begin].length == row.apart)
                add_vectors<Sum, lanes, count, graded>(
                    row, column, static_cast<const Weight*>(row.weights),
                    static_cast<Sum*>(row.current) + size_t(row.runs[begin].output) * row.pitch);
            else
                any_column<Sum, lanes, graded, Weight>(given, column);
        }
}

// Chooses the loop for the layer's number of vectors per column. It is the same for all columns,
// and a choice per column would cost more than the additions.
template <class Sum, bool graded, class Weight,
          int lanes = (BYTES / int(sizeof(Sum)) > LANES ? BYTES / int(sizeof(Sum)) : LANES)>
void convolve_spikes(const ConvolutionRow& row) {
    constexpr int wide = lanes / LANES;
    const int blocks = row.blocks * LANES == row.pitch ? row.apart * row.blocks : 0;
    if constexpr (wide > 2)
        if (blocks % wide) return convolve_spikes<Sum, graded, Weight, lanes / 2>(row);
    switch (blocks % wide ? 0 : blocks / wide) {
        case 1:
            return convolve_columns<Sum, lanes, 1, graded, Weight>(row);
        case 2:
            return convolve_columns<Sum, lanes, 2, graded, Weight>(row);
        case 3:
            return convolve_columns<Sum, lanes, 3, graded, Weight>(row);
        case 4:
            return convolve_columns<Sum, lanes, 4, graded, Weight>(row);
        case 5:
            return convolve_columns<Sum, lanes, 5, graded, Weight>(row);
        case 6:
            return convolve_columns<Sum, lanes, 6, graded, Weight>(row);
        case 7:
            return convolve_columns<Sum, lanes, 7, graded, Weight>(row);
        case 8:
            return convolve_columns<Sum, lanes, 8, graded, Weight>(row);
    }
    for (int i = 0; i < row.n; ++i) any_column<Sum, lanes, graded, Weight>(row, row.columns[i]);
}

void convolve(const ConvolutionRow& row) {
    if (row.current_bytes == 2)
        convolve_spikes<uint16_t, false, int16_t>(row);
    else if (row.weight_bytes == 2)
        row.values ? convolve_spikes<uint32_t, true, int16_t>(row)
                   : convolve_spikes<uint32_t, false, int16_t>(row);
    else
        row.values ? convolve_spikes<uint32_t, true, int32_t>(row)
                   : convolve_spikes<uint32_t, false, int32_t>(row);
}

template <class Sum, class Weight>
LMHT_INLINE void add_row(void* current, const void* weights, int blocks, int32_t value) {
    Sum* to = static_cast<Sum*>(current);
    const Weight* from = static_cast<const Weight*>(weights);
    typedef Vector<Sum, LANES> Sums;
    if (value == 1)
        for (int i = 0; i < blocks * LANES; i += LANES)
            store(to + i, load<Sums>(to + i) + weights_at<Sum, LANES>(from + i));
    else
        for (int i = 0; i < blocks * LANES; i += LANES)
            store(to + i, load<Sums>(to + i) + weights_at<Sum, LANES>(from + i) * Sum(value));
}

void add(void* current, int current_bytes, const void* weights, int weight_bytes, int blocks,
         int32_t value) {
    if (current_bytes == 2)
        add_row<uint16_t, int16_t>(current, weights, blocks, value);
    else if (weight_bytes == 2)
        add_row<uint32_t, int16_t>(current, weights, blocks, value);
    else
        add_row<uint32_t, int32_t>(current, weights, blocks, value);
}

constexpr Kernels table(const char* name) {
    return {name, neurons, convolve, add};
}

}  // namespace
}  // namespace lmht::netx
