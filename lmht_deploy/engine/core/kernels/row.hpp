// What a layer does with one row, written once for all tiers: lists of active inputs, currents, LM-HT neurons, sums.
// `Tier` is `Portable` with the primitives that the tier does better.
#pragma once
#include "portable.hpp"

namespace lmht {
namespace {

// ---------------------------------------------------------------------------------------------- values of one word

// The 64 values k of word `at`.
void read_values(const Spikes& spikes, size_t at, int32_t* k) {
    if (spikes.format == Format::Wide) {
        memcpy(k, spikes.wide + at * LANES, LANES * sizeof *k);
    } else if (spikes.format == Format::Counts) {
        for (int c = 0; c < LANES; ++c) k[c] = spikes.count[at * LANES + c];
    } else {
        const uint64_t mask = spikes.mask[at];
        for (int c = 0; c < LANES; ++c) k[c] = int32_t(mask >> c & 1);
    }
}

void write_values(const Spikes& spikes, size_t at, const int32_t* k) {
    uint64_t mask = 0;
    for (int c = 0; c < LANES; ++c) mask |= uint64_t(k[c] != 0) << c;
    spikes.mask[at] = mask;
    if (spikes.format == Format::Wide) memcpy(spikes.wide + at * LANES, k, LANES * sizeof *k);
    if (spikes.format == Format::Counts)
        for (int c = 0; c < LANES; ++c) spikes.count[at * LANES + c] = uint8_t(k[c]);
}

// ---------------------------------------------------------------------------------------------- inputs of a row

// Calls visit(mask, word, slot) for every word of the channel range at every place under the row, with the slot of the
// word's first channel (modulo 2^32: it can lie before the range), and done(position) after each position.
template <class Visit, class Done>
LMHT_INLINE void for_each_word(const GatherInputs& g, Visit visit, Done done) {
    const Spikes& in = *g.source;
    const int word0 = g.channel0 / LANES, word1 = (g.channel0 + g.channels - 1) / LANES;
    const uint64_t left = ~uint64_t(0) << (g.channel0 % LANES);
    const uint64_t right = ~uint64_t(0) >> (LANES - 1 - (g.channel0 + g.channels - 1) % LANES);
    for (int position = 0; position < g.into->positions; ++position) {
        const int x = g.columns[position];
        for (int ky = 0; ky < g.kernel_height; ++ky) {
            const int y = g.first_row + ky * g.row_step;
            if (x < 0 || y < 0 || y >= in.height) continue;
            const size_t at = in.word(g.block, y, x);
            const uint32_t slot = uint32_t(position * g.kernel_height + ky) * uint32_t(g.channels) - uint32_t(g.channel0);
            for (int w = word0; w <= word1; ++w) {
                uint64_t mask = in.mask[at + w];
                if (w == word0) mask &= left;
                if (w == word1) mask &= right;
                visit(mask, at + w, slot + uint32_t(w) * LANES);
            }
        }
        done(position);
    }
}

template <class Tier>
void list_ones(const GatherInputs& g) {
    const RowInputs& into = *g.into;
    uint32_t* rows = into.rows + g.block * into.row_pitch;
    uint32_t* starts = into.starts + size_t(g.block) * (into.positions + 1);
    const uint8_t* count = g.source->format == Format::Counts ? g.source->count : nullptr;
    uint32_t n = 0;
    starts[0] = 0;
    for_each_word(
        g,
        [&](uint64_t mask, size_t at, uint32_t slot) {
            n += Tier::list(mask, slot, rows + n);
            if (count)
                for (int level = 2; (mask = Tier::at_least(count + at * LANES, level, mask)); ++level) n += Tier::list(mask, slot, rows + n);
        },
        [&](int position) { starts[position + 1] = n; });
}

void list_weighted(const GatherInputs& g) {
    const RowInputs& into = *g.into;
    const Spikes& in = *g.source;
    uint32_t* rows = into.rows + g.block * into.row_pitch;
    int32_t* values = into.values + g.block * into.row_pitch;
    uint32_t* starts = into.starts + size_t(g.block) * (into.positions + 1);
    uint32_t n = 0;
    starts[0] = 0;
    for_each_word(
        g,
        [&](uint64_t mask, size_t at, uint32_t slot) {
            for (; mask; mask &= mask - 1, ++n) {
                const int c = __builtin_ctzll(mask);
                rows[n] = (slot + uint32_t(c)) * LANES;
                values[n] = in.format == Format::Wide ? in.wide[at * LANES + c] : in.format == Format::Counts ? in.count[at * LANES + c] : 1;
            }
        },
        [&](int position) { starts[position + 1] = n; });
}

template <class Tier>
void list(const GatherInputs& g) {
    if (g.into->path == Path::Ones)
        list_ones<Tier>(g);
    else
        list_weighted(g);
}

// ---------------------------------------------------------------------------------------------- currents of a tile

// Adds to `sum` the 16-bit sums of the bytes of rows: `sums` of whole words (modulo 2^16), `high` of their upper bytes.
LMHT_INLINE void flush(Lanes& sum, const U16 (&sums)[PARTS], const U16 (&high)[PARTS]) {
    LMHT_UNROLL for (int part = 0; part < PARTS; ++part) {
        const U32 low = (U32)(U16)(sums[part] - (high[part] << 8)), upper = (U32)high[part];
        sum.v[part] += low & 0xffff;
        sum.v[16 / PER + part] += low >> 16;
        sum.v[32 / PER + part] += upper & 0xffff;
        sum.v[48 / PER + part] += upper >> 16;
    }
}

// Adds rows of weights. A row costs an addition of words, a shift and an addition of their upper bytes: cheaper than
// widening it. 257 unsigned bytes fit 16 bits.
LMHT_INLINE void add_rows(Lanes& sum, const uint8_t* weights, const uint32_t* rows, uint32_t n) {
    for (const uint32_t* end = rows + n; rows < end;) {
        const uint32_t* stop = end - rows > 257 ? rows + 257 : end;
        U16 sums[PARTS] = {}, high[PARTS] = {};
        _Pragma("GCC unroll 4") for (; rows < stop; ++rows) {
            LMHT_UNROLL for (int part = 0; part < PARTS; ++part) {
                U16 row;
                memcpy(&row, weights + *rows + part * BYTES, BYTES);
                sums[part] += row;
                high[part] += row >> 8;
            }
        }
        flush(sum, sums, high);
    }
    add(sum, splat(0u - 128u * n));
}

LMHT_INLINE void add_weighted_rows(Lanes& sum, const uint8_t* weights, const uint32_t* rows, const int32_t* values, uint32_t n) {
    uint32_t total = 0;
    for (uint32_t i = 0; i < n; ++i) {
        const uint32_t value = uint32_t(values[i]);
        total += value;
        LMHT_UNROLL for (int part = 0; part < PARTS; ++part) {
            U32 row;
            memcpy(&row, weights + rows[i] + part * BYTES, BYTES);
            sum.v[part] += (row & 0xff) * value;
            sum.v[16 / PER + part] += (row >> 16 & 0xff) * value;
            sum.v[32 / PER + part] += (row >> 8 & 0xff) * value;
            sum.v[48 / PER + part] += (row >> 24) * value;
        }
    }
    add(sum, splat(0u - 128u * total));
}

LMHT_INLINE void add_listed(const SynapseRow& synapse, int x, int block, Lanes& sum) {
    const RowInputs& in = *synapse.inputs;
    const uint32_t* starts = in.starts + size_t(block) * (in.positions + 1) + synapse.first[x];
    const uint32_t begin = starts[0], n = starts[synapse.kernel_width] - begin;
    // Slots count from the first position of the row, the weights from the first position of the pixel.
    const uint8_t* weights = synapse.weights - ptrdiff_t(synapse.first[x]) * synapse.column_slots * LANES;
    const size_t at = block * in.row_pitch + begin;
    if (in.path == Path::Ones)
        add_rows(sum, weights, in.rows + at, n);
    else
        add_weighted_rows(sum, weights, in.rows + at, in.values + at, n);
}

template <class Tier>
LMHT_INLINE void add_channelwise(const SynapseRow& synapse, int x, int block, int word, Lanes& sum) {
    const Spikes& in = *synapse.source;
    for (int ky = 0; ky < synapse.kernel_height; ++ky)
        for (int kx = 0; kx < synapse.kernel_width; ++kx) {
            const int iy = synapse.first_row + ky * synapse.row_step, ix = x * synapse.stride_x + synapse.first_column + kx * synapse.column_step;
            if (iy < 0 || iy >= in.height || ix < 0 || ix >= in.width) continue;
            const size_t at = in.word(block, iy, ix) + word;
            const int32_t* weight = synapse.taps + (size_t(ky) * synapse.kernel_width + kx) * synapse.tap_pitch;
            if (in.format == Format::Wide)
                LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) sum.v[n] += load(in.wide + at * LANES).v[n] * load(weight).v[n];
            else if (in.format == Format::Counts)
                Tier::add_products(sum, in.count + at * LANES, weight);
            else
                Tier::add_where(sum, in.mask[at], weight);
        }
}

// Currents X of `pixels` output pixels from x0: [pixels][blocks][64].
template <class Tier>
void tile_currents(const NeuronRow& row, int x0, int pixels) {
    memset(row.currents, 0, size_t(pixels) * row.blocks * LANES * sizeof(int32_t));
    for (int s = 0; s < row.n_synapses; ++s) {
        const SynapseRow& synapse = row.synapses[s];
        const Path path = synapse.inputs->path;
        for (int block = 0; block < row.blocks; ++block) {
            if constexpr (Tier::has_dense)
                if (path == Path::Dense) Tier::add_dense(synapse, x0, pixels, block, row.currents, row.blocks);
            for (int p = 0; p < pixels; ++p) {
                int32_t* at = row.currents + (size_t(p) * row.blocks + block) * LANES;
                Lanes sum = load(at);
                if (path == Path::Channelwise)
                    add_channelwise<Tier>(synapse, x0 + p, block, row.word, sum);
                else if (path != Path::Dense)
                    add_listed(synapse, x0 + p, block, sum);
                if (synapse.shift) shift_left(sum, synapse.shift);
                if (s + 1 == row.n_synapses) add(sum, load(row.neurons.bias));
                store(sum, at);
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------- neurons

constexpr int MOST_COMPARED = 8;  // levels up to which comparing level by level is cheaper than dividing

// k = clip(v // theta, 0, levels) by division, for neurons of many levels; v keeps the remainder.
void fire_by_division(Lanes& v, const NeuronSlice& neurons, const Spikes& out, size_t at) {
    int32_t potential[LANES], k[LANES];
    store(v, potential);
    for (int c = 0; c < LANES; ++c) {
        const int32_t theta = neurons.threshold[c], quotient = potential[c] < 0 ? 0 : potential[c] / theta;
        k[c] = quotient < neurons.levels ? quotient : neurons.levels;
        potential[c] -= k[c] * theta;
    }
    v = load(potential);
    write_values(out, at, k);
}

// The same level by level: the spikes of level l are those neurons that still reach theta after l - 1 subtractions.
template <class Tier>
LMHT_INLINE void fire_by_comparison(Lanes& v, const Lanes& theta, int levels, const Spikes& out, size_t at) {
    uint64_t spikes = Tier::fire(v, theta);
    out.mask[at] = spikes;
    if (out.format == Format::Binary) return;
    uint8_t* count = out.count + at * LANES;
    memset(count, 0, LANES);
    for (int level = 1; spikes; ++level) {
        Tier::count(spikes, count);
        if (level == levels) break;
        spikes = Tier::fire(v, theta);
    }
}

template <class Tier>
LMHT_INLINE void fire_pixel(const NeuronRow& row, const int32_t* currents, int x) {
    const NeuronSlice& neurons = row.neurons;
    const Lanes theta = load(neurons.threshold);
    Lanes v = load(neurons.v0);
    for (int step = 0; step < neurons.steps; ++step) {
        if (neurons.leak != 4096 && step % neurons.substeps == 0) Tier::scale(v, neurons.leak);
        for (int i = neurons.term_start[step]; i < neurons.term_start[step + 1]; ++i) {
            const Term term = neurons.terms[i];
            const Lanes x_j = load(currents + size_t(term.block) * LANES);
            if (term.weight == 1)
                add(v, x_j);
            else
                add_times(v, x_j, uint32_t(term.weight));
        }
        const size_t at = row.out->word(step, row.y, x) + row.word;
        if (neurons.levels > MOST_COMPARED)
            fire_by_division(v, neurons, *row.out, at);
        else
            fire_by_comparison<Tier>(v, theta, neurons.levels, *row.out, at);
    }
}

template <class Tier>
void neurons(const NeuronRow& row) {
    for (int x = 0; x < row.width; x += TILE) {
        const int pixels = row.width - x < TILE ? row.width - x : TILE;
        tile_currents<Tier>(row, x, pixels);
        for (int p = 0; p < pixels; ++p) fire_pixel<Tier>(row, row.currents + size_t(p) * row.blocks * LANES, x + p);
    }
}

template <class Tier>
void currents(const NeuronRow& row) {
    tile_currents<Tier>(row, 0, 1);
}

// ---------------------------------------------------------------------------------------------- sums and pooling

template <class Tier>
void sum_steps(const Spikes& in, const Spikes& out, int y) {
    const int span = in.steps / out.steps;
    const size_t words = size_t(in.width) * in.words;
    for (int block = 0; block < out.steps; ++block)
        for (size_t i = 0; i < words; ++i) {
            const size_t to = out.word(block, y, 0) + i;
            if (in.format == Format::Binary && out.format == Format::Counts) {
                uint8_t* count = out.count + to * LANES;
                memset(count, 0, LANES);
                uint64_t any = 0;
                for (int s = 0; s < span; ++s) {
                    const uint64_t mask = in.mask[in.word(block * span + s, y, 0) + i];
                    any |= mask;
                    if (mask) Tier::count(mask, count);
                }
                out.mask[to] = any;
                continue;
            }
            int32_t sum[LANES] = {}, k[LANES];
            for (int s = 0; s < span; ++s) {
                read_values(in, in.word(block * span + s, y, 0) + i, k);
                for (int c = 0; c < LANES; ++c) sum[c] += k[c];
            }
            write_values(out, to, sum);
        }
}

void pool_word(const PoolRow& row, int step, int x, int word) {
    const Spikes& in = *row.in;
    int32_t result[LANES], k[LANES];
    bool first = true;  // the padding never wins a maximum, and adds nothing to a sum
    memset(result, 0, sizeof result);
    for (int ky = 0; ky < row.kernel_y; ++ky)
        for (int kx = 0; kx < row.kernel_x; ++kx) {
            const int iy = row.first_row + ky, ix = x * row.stride_x - row.padding_x + kx;
            if (iy < 0 || iy >= in.height || ix < 0 || ix >= in.width) continue;
            read_values(in, in.word(step, iy, ix) + word, k);
            for (int c = 0; c < LANES; ++c) result[c] = !row.max ? result[c] + k[c] : first || k[c] > result[c] ? k[c] : result[c];
            first = false;
        }
    write_values(*row.out, row.out->word(step, row.y, x) + word, result);
}

void pool(const PoolRow& row) {
    for (int step = 0; step < row.out->steps; ++step)
        for (int x = 0; x < row.out->width; ++x)
            for (int word = 0; word < row.out->words; ++word) pool_word(row, step, x, word);
}

// ---------------------------------------------------------------------------------------------- counting

int64_t word_total(const Spikes& spikes, size_t at) {
    int64_t total = 0;
    if (spikes.format == Format::Wide)
        for (int c = 0; c < LANES; ++c) total += spikes.wide[at * LANES + c];
    else if (spikes.format == Format::Counts)
        for (int c = 0; c < LANES; ++c) total += spikes.count[at * LANES + c];
    else
        total = __builtin_popcountll(spikes.mask[at]);
    return total;
}

void tally(const Spikes& spikes, const Tally& into, int y) {
    int64_t row_events = 0, row_total = 0;
    for (int x = 0; x < spikes.width; ++x) {
        int64_t events = 0, total = 0;
        for (int step = 0; step < spikes.steps; ++step) {
            const size_t at = spikes.word(step, y, x);
            for (int word = 0; word < spikes.words; ++word) {
                if (!spikes.mask[at + word]) continue;
                events += __builtin_popcountll(spikes.mask[at + word]);
                total += word_total(spikes, at + word);
            }
        }
        into.events[size_t(y) * spikes.width + x] = events;
        into.total[size_t(y) * spikes.width + x] = total;
        row_events += events;
        row_total += total;
    }
    into.row_events[y] = row_events;
    into.row_total[y] = row_total;
}

template <class Tier>
constexpr Kernels table(const char* name, float add_cost, float weighted_cost, float dense_cost) {
    return {name, add_cost, weighted_cost, dense_cost, list<Tier>, nullptr, neurons<Tier>, currents<Tier>, sum_steps<Tier>, pool, tally};
}

}  // namespace
}  // namespace lmht
