// LM-HT neurons of one output row and 64 channels. For every pixel, with v in registers:
//
//     v = v * leak / 4096                      at the first sub-step of a time-step
//     v = v + sum of weight * X[block]         over the terms of the T-GIM
//     v = max(v, floor)                        where there is a floor
//     k = clip(v // theta, 0, levels)
//     v = v - k * theta                        or another reset
#pragma once
#include "currents.hpp"

namespace lmht {
namespace {

// Levels up to which k is known to within one from a quotient of single precision.
constexpr int MAX_FLOAT_LEVELS = 1 << 20;

// k = clip(v // theta, 0, levels) of one vector. Both conversions and the division are off by at
// most 2^-24 of their result each. So a quotient up to `levels` is off by less than one, which the
// remainder tells:
//
//     0 <= v - k * theta < theta
LMHT_INLINE U32 quotient(const U32& v, const U32& theta, int levels) {
    const U32 positive = v & (U32)((I32)v > 0);
    const F32 exact = __builtin_convertvector((I32)positive, F32) /
                      __builtin_convertvector((I32)theta, F32),
              limit = F32{} + float(levels);
    U32 k = (U32) __builtin_convertvector(exact < limit ? exact : limit, I32);
    const I32 rest = (I32)(positive - k * theta);
    k += (U32)(rest < 0);  // -1 where true
    k -= (U32)((rest >= (I32)theta) & ((I32)k < levels));
    return k;
}

// k of 64 channels; v keeps the remainder.
LMHT_NOINLINE Lanes divide(Lanes& v, const NeuronSlice& neurons) {
    const Lanes theta = load(neurons.threshold);
    Lanes k;
    if (neurons.levels <= MAX_FLOAT_LEVELS) {
        LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) k.v[n] =
            quotient(v.v[n], theta.v[n], neurons.levels);
    } else {
        int32_t potential[LANES], count[LANES];
        store(v, potential);
        for (int c = 0; c < LANES; ++c) {
            count[c] = potential[c] < 0 ? 0 : potential[c] / neurons.threshold[c];
            if (count[c] > neurons.levels) count[c] = neurons.levels;
        }
        k = load(count);
    }
    LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) v.v[n] -= k.v[n] * theta.v[n];
    return k;
}

// k = clip(v // theta, 0, levels) by division, for neurons of many levels; v keeps the remainder.
template <class Tier>
void fire_by_division(Lanes& v, const NeuronSlice& neurons, const Spikes& out, size_t at) {
    write_lanes<Tier>(out, at, divide(v, neurons));
}

// The same level by level: a neuron reaches level l if v is at least theta after l - 1
// subtractions.
template <class Tier, class Potential>
LMHT_INLINE void fire_by_comparison(Potential& v, const Potential& theta, int levels,
                                    const Spikes& out, size_t at) {
    uint64_t spikes = Tier::fire(v, theta);
    out.mask[at] = spikes;
    if (out.format == Format::Binary) return;
    typename Tier::Counts counts;
    for (int level = 1; spikes; ++level) {
        Tier::count(counts, spikes);
        if (level == levels) break;
        spikes = Tier::fire(v, theta);
    }
    Tier::put(counts, out.count + at * LANES);
}

// Adds the input I of a step to v; current(block) is X of a block.
template <class Current>
LMHT_INLINE void add_drive(Lanes& v, const NeuronSlice& neurons, int step, Current current) {
    for (int i = neurons.term_start[step]; i < neurons.term_start[step + 1]; ++i) {
        const Term term = neurons.terms[i];
        if (term.weight == 1)
            add(v, current(term.block));
        else
            add_times(v, current(term.block), uint32_t(term.weight));
    }
}

// v of pixel x before the first step; `v0` where none is kept from an earlier run.
LMHT_INLINE Lanes potential(const NeuronRow& row, int x, const Lanes& v0) {
    return row.earlier ? load(row.earlier + size_t(x) * LANES) : v0;
}

LMHT_INLINE void keep_potential(const NeuronRow& row, int x, const Lanes& v) {
    if (row.kept) store(v, row.kept + size_t(x) * LANES);
}

// ----------------------------------------------------------------------------------------------
// any neurons, pixel by pixel

// Fires a step of neurons and subtracts k * theta from v.
template <class Tier>
LMHT_INLINE void fire_step(Lanes& v, const Lanes& theta, const NeuronSlice& neurons,
                           const Spikes& out, size_t at) {
    if (neurons.levels > MAX_COMPARISONS)
        fire_by_division<Tier>(v, neurons, out, at);
    else
        fire_by_comparison<Tier>(v, theta, neurons.levels, out, at);
}

template <class Tier>
LMHT_INLINE void fire_pixel(const NeuronRow& row, const int32_t* currents, int x) {
    const NeuronSlice& neurons = row.neurons;
    const Lanes theta = load(neurons.threshold);
    Lanes v = potential(row, x, load(neurons.v0));
    for (int step = 0; step < neurons.steps; ++step) {
        if (neurons.leak != LEAK_ONE && step % neurons.substeps == 0) Tier::scale(v, neurons.leak);
        add_drive(v, neurons, step,
                  [&](int block) { return load(currents + size_t(block) * LANES); });
        fire_step<Tier>(v, theta, neurons, *row.out, row.out->word(step, row.y, x) + row.word);
    }
    keep_potential(row, x, v);
}

// ----------------------------------------------------------------------------------------------
// neurons of few channels, several pixels at once
//
// The channels of a pixel take a part of the lanes, and so do those of the pixels that follow:
//
//     lanes      0 ........ 15 16 ....... 31 32 ....... 47 48 ....... 63
//     of pixel   x             x + 1         x + 2         x + 3            16 channels or fewer

bool is_subtracting(const NeuronSlice& neurons) {
    return neurons.reset == Reset::Subtract && !neurons.floor;
}

// Whether pixels of a row can fire together: few channels and levels, and no other reset.
LMHT_INLINE bool can_fire_together([[maybe_unused]] const NeuronRow& row) {
#if defined(__wasm__)  // the module is to be small
    return false;
#else
    return row.channels <= 32 && row.neurons.levels <= MAX_COMPARISONS &&
           is_subtracting(row.neurons);
#endif
}

// Lanes of some pixels, CHANNELS (16 or 32) of each. A layer may have fewer: the rest is padding,
// whose neurons never fire.
template <int CHANNELS>
struct PixelLanes {
    static constexpr int PIXELS = LANES / CHANNELS, EACH = CHANNELS / PER;

    // The same lanes for each pixel.
    static LMHT_INLINE Lanes repeat(const int32_t* from) { return gather(from, 0, PIXELS); }

    // Of n pixels, `pitch` apart. The last one stands for those that are not there.
    static LMHT_INLINE Lanes gather(const int32_t* from, size_t pitch, int n) {
        Lanes lanes;
        LMHT_UNROLL for (int p = 0; p < PIXELS; ++p) LMHT_UNROLL for (int i = 0; i < EACH; ++i)
            lanes.v[p * EACH + i] =
            reinterpret_cast<const AnyU32*>(from + (p < n ? p : n - 1) * pitch)[i];
        return lanes;
    }

    static LMHT_INLINE void scatter(const Lanes& lanes, int32_t* to, size_t pitch, int n) {
        LMHT_UNROLL for (int p = 0; p < PIXELS; ++p) if (p < n)
            LMHT_UNROLL for (int i = 0; i < EACH; ++i) reinterpret_cast<AnyU32*>(
                to + p * pitch)[i] = lanes.v[p * EACH + i];
    }

    // Writes the spikes of n pixels, whose first word is `at`. Lanes from CHANNELS on are silent.
    static LMHT_INLINE void put(uint64_t mask, const uint8_t* count, const Spikes& out, size_t at,
                                int n) {
        constexpr uint64_t ONE_PIXEL = (uint64_t(1) << CHANNELS) - 1;
        for (int p = 0; p < n; ++p, at += out.words, mask >>= CHANNELS, count += CHANNELS) {
            out.mask[at] = mask & ONE_PIXEL;
            if (out.format == Format::Binary) continue;
            memcpy(out.count + at * LANES, count, CHANNELS);
            memset(out.count + at * LANES + CHANNELS, 0, LANES - CHANNELS);
        }
    }
};

// `fire_pixel` of n pixels from x on.
template <class Tier, int CHANNELS>
LMHT_INLINE void fire_pixels(const NeuronRow& row, const int32_t* currents, int x, int n) {
    using Pixels = PixelLanes<CHANNELS>;
    const NeuronSlice& neurons = row.neurons;
    const size_t first = size_t(x) * LANES;
    const Lanes theta = Pixels::repeat(neurons.threshold);
    Lanes v =
        row.earlier ? Pixels::gather(row.earlier + first, LANES, n) : Pixels::repeat(neurons.v0);
    for (int step = 0; step < neurons.steps; ++step) {
        if (neurons.leak != LEAK_ONE && step % neurons.substeps == 0) Tier::scale(v, neurons.leak);
        add_drive(v, neurons, step, [&](int block) LMHT_INLINE_LAMBDA {
            return Pixels::gather(currents + size_t(block) * LANES, size_t(row.blocks) * LANES, n);
        });
        uint64_t mask;
        alignas(64) uint8_t count[LANES];
        Spikes together;  // one word for all pixels
        together.format = row.out->format;
        together.mask = &mask;
        together.count = count;
        fire_by_comparison<Tier>(v, theta, neurons.levels, together, 0);
        Pixels::put(mask, count, *row.out, row.out->word(step, row.y, x) + row.word, n);
    }
    if (row.kept) Pixels::scatter(v, row.kept + first, LANES, n);
}

template <class Tier, int CHANNELS>
LMHT_NOINLINE void fire_few_channels(const NeuronRow& row, Tile tile) {
    constexpr int PIXELS = PixelLanes<CHANNELS>::PIXELS;
    for (int p = 0; p < tile.pixels; p += PIXELS)
        fire_pixels<Tier, CHANNELS>(row, row.currents + size_t(p) * row.blocks * LANES, tile.x0 + p,
                                    tile.pixels - p < PIXELS ? tile.pixels - p : PIXELS);
}

// ----------------------------------------------------------------------------------------------
// neurons with any reset and a floor, pixel by pixel

// v - k * theta for the spikes k that v causes.
LMHT_INLINE Lanes without_spikes(const Lanes& v, const NeuronSlice& neurons) {
    Lanes left = v;
    divide(left, neurons);
    return left;
}

LMHT_INLINE void subtract(Lanes& a, const Lanes& b) {
    LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) a.v[n] -= b.v[n];
}

LMHT_INLINE void raise_to(Lanes& v, const Lanes& floor) {
    LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) {
        const U32 above = (U32)((I32)v.v[n] > (I32)floor.v[n]);
        v.v[n] = (v.v[n] & above) | (floor.v[n] & ~above);
    }
}

// Sets v to 0 where it differs from `left`, what its spikes leave of it.
LMHT_INLINE void zero_spiking(Lanes& v, const Lanes& left) {
    LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) v.v[n] &= (U32)(v.v[n] == left.v[n]);
}

template <class Tier>
LMHT_NOINLINE void fire_pixel_of_any_reset(const NeuronRow& row, const int32_t* currents, int x) {
    const NeuronSlice& neurons = row.neurons;
    const bool late = neurons.reset == Reset::SubtractLate;
    const Lanes theta = load(neurons.threshold);
    Lanes v = potential(row, x, load(neurons.v0));
    Lanes left = late ? without_spikes(v, neurons) : v;
    for (int step = 0; step < neurons.steps; ++step) {
        Lanes pending = v;  // k * theta of the step before, if it is subtracted late
        subtract(pending, left);
        if (neurons.leak != LEAK_ONE && step % neurons.substeps == 0) Tier::scale(v, neurons.leak);
        if (late) subtract(v, pending);
        add_drive(v, neurons, step,
                  [&](int block) { return load(currents + size_t(block) * LANES); });
        if (neurons.floor) raise_to(v, load(neurons.floor));
        left = v;
        fire_step<Tier>(left, theta, neurons, *row.out, row.out->word(step, row.y, x) + row.word);
        if (neurons.reset == Reset::Subtract) v = left;
        if (neurons.reset == Reset::Zero) zero_spiking(v, left);
    }
    keep_potential(row, x, v);
}

// ----------------------------------------------------------------------------------------------
// plain neurons: few levels, no leak, k * theta subtracted at once, no floor

// Of few channels, only those of the identity: one current per step is little to add.
bool is_plain(const NeuronRow& row) {
    return row.neurons.leak == LEAK_ONE && row.neurons.levels <= MAX_COMPARISONS &&
           is_subtracting(row.neurons) &&
           (row.neurons.drive == Drive::One || !can_fire_together(row));
}

// Where the pixels of a row begin to differ. Before the first spike under the row, all pixels that
// begin with v0 add biases alone:
//
//     step      0        1        2        3
//     blocks    silent   silent   a spike  any
//     fired     once for the row  `--- pixel by pixel: `step` = 2, with v after step 1
struct Start {
    int step;
    int block;  // first block that a step from there on reads; the number of blocks for none
    Lanes v;
};

template <class Visit>
LMHT_INLINE void for_each_block(const NeuronSlice& neurons, int step, Visit visit) {
    for (int i = neurons.term_start[step]; i < neurons.term_start[step + 1]; ++i)
        visit(neurons.terms[i].block);
}

// Whether a step reads silent blocks only.
LMHT_INLINE bool is_silent(const NeuronRow& row, int step) {
    bool silent = true;
    for_each_block(row.neurons, step,
                   [&](int block) { silent = silent && block < row.silent_blocks; });
    return silent;
}

LMHT_INLINE int first_block_from(const NeuronRow& row, int step) {
    int first = row.blocks;
    for (; step < row.neurons.steps; ++step)
        for_each_block(row.neurons, step,
                       [&](int block) { first = block < first ? block : first; });
    return first;
}

// Copies the spikes of the row's first pixel, word `first`, to all others.
LMHT_INLINE void copy_along_row(const NeuronRow& row, const Spikes& out, size_t first) {
    for (size_t x = 1, at = first + out.words; x < size_t(row.width); ++x, at += out.words) {
        out.mask[at] = out.mask[first];
        if (out.count) memcpy(out.count + at * LANES, out.count + first * LANES, LANES);
    }
}

// Fires the steps of a plain row before the first one that reads a spike.
template <class Tier>
LMHT_INLINE Start fire_silent_steps(const NeuronRow& row) {
    const NeuronSlice& neurons = row.neurons;
    const Lanes theta = load(neurons.threshold), bias = load(neurons.bias);
    Start start{0, 0, load(neurons.v0)};
    if (row.earlier || row.kept) return start;
    for (; start.step < neurons.steps && is_silent(row, start.step); ++start.step) {
        add_drive(start.v, neurons, start.step, [&](int) { return bias; });
        const size_t first = row.out->word(start.step, row.y, 0) + row.word;
        fire_by_comparison<Tier>(start.v, theta, neurons.levels, *row.out, first);
        copy_along_row(row, *row.out, first);
    }
    start.block = first_block_from(row, start.step);
    return start;
}

// GRADED: the levels may be several.
template <class Tier, bool GRADED, class Potential>
LMHT_INLINE void fire_plain_step(Potential& v, const Potential& theta, int levels,
                                 const Spikes& out, size_t at) {
    if (GRADED)
        fire_by_comparison<Tier>(v, theta, levels, out, at);
    else
        out.mask[at] = Tier::fire(v, theta);
}

// `fire_pixel` of all pixels of a tile of a plain row; current(p, block) is X.
template <class Tier, Drive DRIVE, bool GRADED, class Current>
LMHT_INLINE void fire_plain_pixels(const NeuronRow& row, Tile tile, const Start& start,
                                   Current current_of) {
    const NeuronSlice& neurons = row.neurons;
    const Lanes theta = load(neurons.threshold);
    const Term* const terms = neurons.terms;
    const int steps = neurons.steps, levels = neurons.levels;
    const Spikes& out = *row.out;
    const size_t step_words = out.word(1, 0, 0);
    size_t pixel = out.word(start.step, row.y, tile.x0) + row.word;
    for (int p = 0; p < tile.pixels; ++p, pixel += out.words) {
        const auto current = [&](int block) LMHT_INLINE_LAMBDA { return current_of(p, block); };
        Lanes v = potential(row, tile.x0 + p, start.v), drive = splat(0);
        if (DRIVE == Drive::Constant) add_drive(drive, neurons, 0, current);
        size_t at = pixel;
        for (int step = start.step; step < steps; ++step, at += step_words) {
            if (DRIVE == Drive::One)
                add(v, current(terms[step].block));
            else if (DRIVE == Drive::Constant)
                add(v, drive);
            else
                add_drive(v, neurons, step, current);
            fire_plain_step<Tier, GRADED>(v, theta, levels, out, at);
        }
        keep_potential(row, tile.x0 + p, v);
    }
}

// ----------------------------------------------------------------------------------------------
// plain neurons in 16 bits
//
// For neurons with 0 <= v0 < theta that get the same input I at all steps, to limit I to
// 0..L * theta does not change the spikes: with a negative I they never fire, and with one of
// L * theta or more they fire L times at every step. With the limited I, v stays below
// (L + 1) * theta. What v is after the window does change.

// Whether (L + 1) * theta fits 16 bits, 0 <= v0 < theta, and v is neither kept from an earlier run
// nor for a later one.
LMHT_INLINE bool fits_narrow_lanes(const NeuronRow& row, const Lanes& v0) {
    const NeuronSlice& neurons = row.neurons;
    if (row.earlier || row.kept) return false;
    const Lanes theta = load(neurons.threshold);
    const int32_t most = INT16_MAX / (neurons.levels + 1);
    I32 exceeds{};
    LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) {
        const I32 v = (I32)v0.v[n], threshold = (I32)theta.v[n];
        exceeds |= (threshold > most) | (v < 0) | (v >= threshold);
    }
    return Portable::bits(exceeds) == 0;
}

template <class Tier, bool GRADED, class Current>
LMHT_INLINE void fire_narrow_pixels(const NeuronRow& row, Tile tile, const Start& start,
                                    Current current_of) {
    using Narrow = typename Tier::NarrowLanes;
    const NeuronSlice& neurons = row.neurons;
    const int steps = neurons.steps, levels = neurons.levels;
    Lanes most = splat(0);
    add_times(most, load(neurons.threshold), uint32_t(levels));
    const Narrow theta(load(neurons.threshold)), limit(most), v0(start.v);
    const Spikes& out = *row.out;
    const size_t step_words = out.word(1, 0, 0);
    size_t pixel = out.word(start.step, row.y, tile.x0) + row.word;
    for (int p = 0; p < tile.pixels; ++p, pixel += out.words) {
        Lanes sum = splat(0);
        add_drive(sum, neurons, 0,
                  [&](int block) LMHT_INLINE_LAMBDA { return current_of(p, block); });
        Narrow v = v0, drive(sum);  // saturated, which `clip` makes good
        drive.clip(limit);
        size_t at = pixel;
        for (int step = start.step; step < steps; ++step, at += step_words) {
            Tier::add(v, drive);
            fire_plain_step<Tier, GRADED>(v, theta, levels, out, at);
        }
    }
}

template <class Tier, Drive DRIVE, bool GRADED, class Current>
LMHT_INLINE void fire_plain_or_narrow(const NeuronRow& row, Tile tile, const Start& start,
                                      Current current) {
    if constexpr (Tier::has_narrow_lanes && DRIVE == Drive::Constant)
        if (fits_narrow_lanes(row, start.v))
            return fire_narrow_pixels<Tier, GRADED>(row, tile, start, current);
    fire_plain_pixels<Tier, DRIVE, GRADED>(row, tile, start, current);
}

template <class Tier, Drive DRIVE, class Current>
LMHT_INLINE void fire_plain(const NeuronRow& row, Tile tile, const Start& start, Current current) {
    if (row.out->format == Format::Binary)
        fire_plain_or_narrow<Tier, DRIVE, false>(row, tile, start, current);
    else
        fire_plain_or_narrow<Tier, DRIVE, true>(row, tile, start, current);
}

template <class Tier>
LMHT_INLINE void fire_plain_tile(const NeuronRow& row, Tile tile, const Start& start) {
    const auto current = [&](int p, int block) LMHT_INLINE_LAMBDA {
        return load(row.currents + (size_t(p) * row.blocks + block) * LANES);
    };
    switch (row.neurons.drive) {
        case Drive::One:
            return fire_plain<Tier, Drive::One>(row, tile, start, current);
        case Drive::Constant:
            return fire_plain<Tier, Drive::Constant>(row, tile, start, current);
        case Drive::Mixed:
            return fire_plain<Tier, Drive::Mixed>(row, tile, start, current);
    }
}

// ----------------------------------------------------------------------------------------------
// whole windows at once
//
// Neurons that get the same input I = w * X at all T steps fire, if 0 <= v0 < theta and L = 1, in
// all steps
//
//     k = clip((v0 + T * w * X) // theta, 0, T)
//
// times: v stays within 0..theta while 0 <= I <= theta; with a larger I they always fire, and with
// a negative one they never do. So k is the number of n = 1 .. T with X >= (n * theta - v0) / (T *
// w).

// The thresholds of these currents, and what is added to a current before it is compared.
template <class Tier>
struct WideThresholds {
    const int32_t* thresholds;
    int n;
    Lanes base;

    LMHT_INLINE uint64_t count(Lanes x, uint8_t* to) const {
        add(x, base);
        return Tier::template count_reached<Tier>(x, thresholds, n, to);
    }
};

// Fires the pixels of a tile with the currents base + current(p).
template <class Tier, class Current>
LMHT_INLINE void fire_windows(const NeuronRow& row, Tile tile, const Lanes& base, Current current) {
    const NeuronSlice& neurons = row.neurons;
    const auto fire_all = [&](const auto& thresholds) LMHT_INLINE_LAMBDA {
        const Spikes& out = *row.window;
        size_t at = out.word(0, row.y, tile.x0) + row.word;
        for (int p = 0; p < tile.pixels; ++p, at += out.words)
            out.mask[at] = thresholds.count(current(p), out.count + at * LANES);
    };
    if constexpr (Tier::has_narrow_thresholds)
        if (neurons.narrow_window)
            return fire_all(typename Tier::NarrowThresholds(neurons.window, neurons.steps, base));
    fire_all(WideThresholds<Tier>{neurons.window, neurons.steps, base});
}

// The sum of current(block) over the blocks that the neurons read and selects(block) takes. Where
// the currents of steps lie in a ring, a block is a place in it and may exceed row.blocks.
template <class Selects, class Current>
LMHT_INLINE Lanes sum_of_blocks(const NeuronRow& row, Selects selects, Current current) {
    Lanes sum = splat(0);
    for_each_block(row.neurons, 0, [&](int block) LMHT_INLINE_LAMBDA {
        if (selects(block)) add(sum, current(block));
    });
    return sum;
}

// The sum of their biases, up to block `end`.
LMHT_INLINE Lanes sum_of_biases(const NeuronRow& row, int end) {
    return sum_of_blocks(
        row, [&](int block) { return block < end; }, [&](int) { return load(row.neurons.bias); });
}

template <class Tier>
LMHT_INLINE void fire_window_tile(const NeuronRow& row, Tile tile) {
    const int silent = row.silent_blocks;
    fire_windows<Tier>(row, tile, sum_of_biases(row, silent), [&](int p) LMHT_INLINE_LAMBDA {
        const int32_t* const currents = row.currents + size_t(p) * row.blocks * LANES;
        return sum_of_blocks(
            row, [&](int block) LMHT_INLINE_LAMBDA { return block >= silent; },
            [&](int block) LMHT_INLINE_LAMBDA { return load(currents + size_t(block) * LANES); });
    });
}

// No spike lies under the row: all pixels add biases alone.
template <class Tier>
void fire_silent_window(const NeuronRow& row) {
    fire_windows<Tier>(row, {0, 1}, sum_of_biases(row, row.blocks), [](int) { return splat(0); });
    copy_along_row(row, *row.window, row.window->word(0, row.y, 0) + row.word);
}

// ----------------------------------------------------------------------------------------------
// rows of sums, whose currents are computed in registers

// Whether no block of a row is read twice, and its synapses have sums; a second one may be a
// shortcut.
LMHT_INLINE bool is_of_sums(const NeuronRow& row, bool plain) {
    const SynapseRow* const synapses = row.synapses;
    return (row.window || (plain && row.neurons.drive != Drive::Mixed)) && synapses[0].sums &&
           (row.n_synapses == 1 ||
            (row.n_synapses == 2 && (synapses[1].sums || is_shortcut(synapses[1]))));
}

// The sums of a synapse for one output row and 64 channels.
struct Sums {
    const int32_t* at;
    size_t pitch;
    int exponent;

    LMHT_INLINE explicit Sums(const SynapseRow& synapse)
        : at(synapse.sums), pitch(synapse.sums_pitch), exponent(synapse.exponent) {}

    template <class>
    LMHT_INLINE void add_to(Lanes& sum, int x, int block) const {
        Lanes own = load(at + block * pitch + size_t(x) * LANES);
        if (exponent) shift_left(own, exponent);
        add(sum, own);
    }
};

// `parts` are what the synapses add.
template <class Tier, class... Parts>
LMHT_NOINLINE void fire_sums(const NeuronRow& row, const Start& start, const Parts... parts) {
    const auto sum_of = [&](int x, int block) LMHT_INLINE_LAMBDA {
        Lanes sum = splat(0);
        (parts.template add_to<Tier>(sum, x, block), ...);
        return sum;
    };
    const Tile all{0, row.width};
    if (row.window)
        return fire_windows<Tier>(
            row, all, sum_of_biases(row, row.blocks), [&](int x) LMHT_INLINE_LAMBDA {
                return sum_of_blocks(
                    row, [](int) LMHT_INLINE_LAMBDA { return true; },
                    [&](int block) LMHT_INLINE_LAMBDA { return sum_of(x, block); });
            });
    const Lanes bias = load(row.neurons.bias);
    const auto current = [&](int x, int block) LMHT_INLINE_LAMBDA {
        Lanes sum = sum_of(x, block);
        add(sum, bias);
        return sum;
    };
    if (row.neurons.drive == Drive::One)
        fire_plain<Tier, Drive::One>(row, all, start, current);
    else
        fire_plain<Tier, Drive::Constant>(row, all, start, current);
}

template <class Tier>
LMHT_INLINE void fire_row_of_sums(const NeuronRow& row, const Start& start) {
    const SynapseRow* const synapses = row.synapses;
    const Sums first(synapses[0]);
    if (row.n_synapses == 1)
        fire_sums<Tier>(row, start, first);
    else if (synapses[1].sums)
        fire_sums<Tier>(row, start, first, Sums(synapses[1]));
    else
        fire_sums<Tier>(row, start, first, Shortcut(synapses[1], row.word));
}

// ----------------------------------------------------------------------------------------------
// rows

template <class Tier>
LMHT_INLINE void fire_general_tile(const NeuronRow& row, Tile tile) {
    if (can_fire_together(row))
        return row.channels <= 16 ? fire_few_channels<Tier, 16>(row, tile)
                                  : fire_few_channels<Tier, 32>(row, tile);
    const bool subtracting = is_subtracting(row.neurons);
    const int32_t* currents = row.currents;
    for (int x = tile.x0; x < tile.x0 + tile.pixels; ++x, currents += size_t(row.blocks) * LANES)
        if (subtracting)
            fire_pixel<Tier>(row, currents, x);
        else
            fire_pixel_of_any_reset<Tier>(row, currents, x);
}

// `row.currents` are those of the tile. Not inlined: its two callers would each hold all of it.
template <class Tier>
LMHT_NOINLINE void fire_tile(const NeuronRow& row, Tile tile, bool plain, const Start& start) {
    if (row.window)
        fire_window_tile<Tier>(row, tile);
    else if (plain)
        fire_plain_tile<Tier>(row, tile, start);
    else
        fire_general_tile<Tier>(row, tile);
}

template <class Tier>
void neurons(const NeuronRow& row) {
    if (row.window && row.silent_blocks == row.blocks) return fire_silent_window<Tier>(row);
    const bool plain = !row.window && is_plain(row);
    Start start = plain ? fire_silent_steps<Tier>(row) : Start{};
    if (row.window) start.block = row.silent_blocks;
    if (start.block == row.blocks) return;  // no step reads a spike
    if constexpr (Tier::has_sums)
        if (is_of_sums(row, plain)) return fire_row_of_sums<Tier>(row, start);
    Prefetcher prefetcher(row, start.block);
    for (int x = 0; x < row.width; x += TILE) {
        const Tile tile{x, row.width - x < TILE ? row.width - x : TILE};
        tile_currents<Tier>(row, tile, start.block, prefetcher);
        fire_tile<Tier>(row, tile, plain, start);
    }
}

template <class Tier>
void fire(const NeuronRow& row) {
    fire_tile<Tier>(row, {0, row.width}, is_plain(row), {0, 0, load(row.neurons.v0)});
}

}  // namespace
}  // namespace lmht
