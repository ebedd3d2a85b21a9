// What a layer does with one row, written once for all tiers: lists of active inputs, currents,
// LM-HT neurons, sums. `Tier` is `Portable` with the primitives that the tier does better.
#pragma once
#include "portable.hpp"

namespace lmht {
namespace {

// ----------------------------------------------------------------------------------------------
// values of one word

// Value k of a channel that is marked.
LMHT_INLINE int32_t value_of(const Spikes& spikes, size_t at, int c) {
    switch (spikes.format) {
        case Format::Wide:
            return spikes.wide[at * LANES + c];
        case Format::Counts:
            return spikes.count[at * LANES + c];
        case Format::Few:
            return int32_t(spikes.few[at] >> (8 * c) & 255);
        default:
            return 1;
    }
}

// The 64 values k of word `at`.
void read_values(const Spikes& spikes, size_t at, int32_t* k) {
    if (spikes.format == Format::Wide) {
        memcpy(k, spikes.wide + at * LANES, LANES * sizeof *k);
    } else if (spikes.format == Format::Counts) {
        for (int c = 0; c < LANES; ++c) k[c] = spikes.count[at * LANES + c];
    } else {
        memset(k, 0, LANES * sizeof *k);
        for (uint64_t mask = spikes.mask[at]; mask; mask &= mask - 1)
            k[__builtin_ctzll(mask)] = value_of(spikes, at, __builtin_ctzll(mask));
    }
}

void write_values(const Spikes& spikes, size_t at, const int32_t* k) {
    uint64_t mask = 0;
    for (int c = 0; c < LANES; ++c) mask |= uint64_t(k[c] != 0) << c;
    spikes.mask[at] = mask;
    if (spikes.format == Format::Wide) memcpy(spikes.wide + at * LANES, k, LANES * sizeof *k);
    if (spikes.format == Format::Counts)
        for (int c = 0; c < LANES; ++c) spikes.count[at * LANES + c] = uint8_t(k[c]);
    if (spikes.format == Format::Few) {
        spikes.few[at] = 0;
        for (int c = 0; c < FEW; ++c) spikes.few[at] |= uint64_t(uint8_t(k[c])) << (8 * c);
    }
}

// ----------------------------------------------------------------------------------------------
// inputs of a row

LMHT_INLINE uint32_t* rows_of(const RowInputs& inputs, int list) {
    return inputs.rows + list * inputs.row_pitch;
}
LMHT_INLINE uint32_t* starts_of(const RowInputs& inputs, int list) {
    return inputs.starts + size_t(list) * (inputs.positions + 1);
}

// The rows ky0 <= ky < ky1 of the kernel that lie inside the input, and the first word under them.
struct Inside {
    int ky0, ky1;
    size_t origin;
};

LMHT_INLINE Inside rows_inside(const GatherInputs& g) {
    int ky0 = 0, ky1 = g.kernel_height;
    while (ky0 < ky1 && g.first_row + ky0 * g.row_step < 0) ++ky0;
    while (ky0 < ky1 && g.first_row + (ky1 - 1) * g.row_step >= g.source->height) --ky1;
    return {ky0, ky1,
            ky0 < ky1 ? g.source->word(g.of.block, g.first_row + ky0 * g.row_step, 0) : 0};
}

// From a word of the block to that of the other one.
LMHT_INLINE ptrdiff_t other_words(const GatherInputs& g) {
    return ptrdiff_t(g.of.other - g.of.block) * ptrdiff_t(g.source->word(1, 0, 0));
}

// Calls visit(mask, word, slot) for every word of the channel range at every place under the row,
// with the slot of the word's first channel (modulo 2^32: it can lie before the range), and
// done(position) after each position.
template <bool PART, class Visit, class Done>
LMHT_INLINE void for_each_word_of(const GatherInputs& g, Visit visit, Done done) {
    const Spikes& in = *g.source;
    const int word0 = g.channel0 / LANES, words = (g.channel0 + g.channels - 1) / LANES - word0 + 1;
    const uint64_t left = ~uint64_t(0) << (g.channel0 % LANES);
    const uint64_t right = ~uint64_t(0) >> (LANES - 1 - (g.channel0 + g.channels - 1) % LANES);
    const auto [ky0, ky1, first_word] = rows_inside(g);
    const size_t origin = first_word + word0;
    const size_t row_pitch = size_t(g.row_step) * in.width * in.words;
    const uint64_t *const mask = in.mask, *const other = mask + other_words(g);
    const uint64_t flip = g.of.shared ? 0 : ~uint64_t(0);
    const int positions = g.into->positions;
    const uint32_t pitch = uint32_t(g.pitch), position_slots = uint32_t(g.kernel_height) * pitch;
    uint32_t first_slot = uint32_t(ky0) * pitch - uint32_t(g.channel0 % LANES);
    for (int position = 0; position < positions; ++position, first_slot += position_slots) {
        const int x = g.columns[position];
        if (x >= 0) {
            size_t at = origin + size_t(x) * in.words;
            uint32_t slot = first_slot;
            for (int ky = ky0; ky < ky1; ++ky, at += row_pitch, slot += pitch)
                for (int w = 0; w < words; ++w) {
                    uint64_t active = mask[at + w];
                    if (g.of.other != g.of.block) active &= other[at + w] ^ flip;
                    if (PART && w == 0) active &= left;
                    if (PART && w == words - 1) active &= right;
                    visit(active, at + w, slot + uint32_t(w) * LANES);
                }
        }
        done(position);
    }
}

template <class Visit, class Done>
LMHT_INLINE void for_each_word(const GatherInputs& g, Visit visit, Done done) {
    if (g.channels == g.source->channels)  // what is beyond the last channel is silent
        for_each_word_of<false>(g, visit, done);
    else
        for_each_word_of<true>(g, visit, done);
}

template <class Tier>
LMHT_APART void list_spikes(const GatherInputs& g) {
    uint32_t* const rows = rows_of(*g.into, g.of.list);
    uint32_t* const starts = starts_of(*g.into, g.of.list);
    uint32_t n = 0;
    starts[0] = 0;
    for_each_word(
        g, [&](uint64_t mask, size_t, uint32_t slot) { n += Tier::list(mask, slot, rows + n); },
        [&](int position) { starts[position + 1] = n; });
}

// Both lists of graded spikes: list_word(at, mask, slot, once, twice) adds those of a word to where
// they end.
template <class ListWord>
LMHT_INLINE void list_both(const GatherInputs& g, ListWord list_word) {
    const RowInputs& into = *g.into;
    const int lists[2] = {g.of.list, g.source->steps + g.of.list};
    uint32_t *const once = rows_of(into, lists[0]), *const twice = rows_of(into, lists[1]);
    uint32_t *const once_starts = starts_of(into, lists[0]), *const twice_starts =
                                                                 starts_of(into, lists[1]);
    uint32_t n = 0, m = 0;
    once_starts[0] = twice_starts[0] = 0;
    for_each_word(
        g,
        [&](uint64_t mask, size_t at, uint32_t slot) {
            list_word(at, mask, slot, once, n, twice, m);
        },
        [&](int position) {
            once_starts[position + 1] = n;
            twice_starts[position + 1] = m;
        });
}

template <class Tier>
LMHT_APART void list_counts(const GatherInputs& g) {
    const uint8_t* const count = g.source->count;
    list_both(g, [count](size_t at, uint64_t mask, uint32_t slot, uint32_t* once, uint32_t& n,
                         uint32_t* twice, uint32_t& m) {
        n += Tier::list(Tier::odd(count + at * LANES, mask), slot, once + n);
        for (int level = 2; level < 256 && (mask = Tier::at_least(count + at * LANES, level, mask));
             level += 2)
            m += Tier::list(mask, slot, twice + m);
    });
}

void list_few(const GatherInputs& g) {
    const Spikes& in = *g.source;
    list_both(g, [&in](size_t at, uint64_t mask, uint32_t slot, uint32_t* once, uint32_t& n,
                       uint32_t* twice, uint32_t& m) {
        for (; mask; mask &= mask - 1) {
            const int c = __builtin_ctzll(mask);
            const uint32_t row = (slot + uint32_t(c)) * LANES;
            const int32_t k = value_of(in, at, c);
            if (k & 1) once[n++] = row;
            for (int i = 0; i < k / 2; ++i) twice[m++] = row;
        }
    });
}

// The usual case of `list_spikes`, position by position: binary spikes, whole words, every channel.
// Of `PLACES` rows of the kernel and `WORDS` words, where they are known. Not inlined, for the loop
// needs the registers.
template <class Tier, int PLACES, int WORDS, class Active>
LMHT_APART void list_positions(const GatherInputs& g, Inside inside, Active active) {
    const RowInputs& into = *g.into;
    const Spikes& in = *g.source;
    const int places = PLACES ? PLACES : inside.ky1 - inside.ky0, words = WORDS ? WORDS : in.words,
              positions = into.positions;
    uint32_t* const rows = rows_of(into, g.of.list);
    uint32_t* const starts = starts_of(into, g.of.list);
    const uint64_t* const mask = in.mask + inside.origin;
    const int32_t* const columns = g.columns;
    const size_t pitch = size_t(g.row_step) * in.width * words;
    const uint32_t slots = uint32_t(g.pitch), position_slots = uint32_t(g.kernel_height) * slots;
    uint32_t slot = uint32_t(inside.ky0) * slots, n = 0;
    starts[0] = 0;
    for (int position = 0; position < positions; ++position, slot += position_slots) {
        const int x = columns[position];
        if (x >= 0)
            n += Tier::list_position(mask + size_t(x) * words, pitch, places, words, slots, slot,
                                     rows + n, active);
        starts[position + 1] = n;
    }
}

template <class Tier, class Active>
LMHT_INLINE void list_whole_words(const GatherInputs& g, Active active) {
    const Inside inside = rows_inside(g);
    if (g.source->words == 1 &&
        inside.ky1 - inside.ky0 ==
            3)  // 64 channels under a kernel of 3 rows: the layers with most pixels
        list_positions<Tier, 3, 1>(g, inside, active);
    else
        list_positions<Tier, 0, 0>(g, inside, active);
}

template <class Tier>
void list_whole_words(const GatherInputs& g) {
    const ptrdiff_t apart = other_words(g);
    if (g.of.other == g.of.block)
        list_whole_words<Tier>(g, [](const uint64_t* mask) { return *mask; });
    else if (g.of.shared)
        list_whole_words<Tier>(g, [apart](const uint64_t* mask) { return mask[0] & mask[apart]; });
    else
        list_whole_words<Tier>(g, [apart](const uint64_t* mask) { return mask[0] & ~mask[apart]; });
}

// Active inputs one by one, with their values.
void list_values(const GatherInputs& g) {
    const RowInputs& into = *g.into;
    const Spikes& in = *g.source;
    uint32_t* const rows = rows_of(into, g.of.list);
    int32_t* const values = into.values + g.of.list * into.row_pitch;
    uint32_t* const starts = starts_of(into, g.of.list);
    uint32_t n = 0;
    starts[0] = 0;
    for_each_word(
        g,
        [&](uint64_t mask, size_t at, uint32_t slot) {
            for (; mask; mask &= mask - 1, ++n) {
                const int c = __builtin_ctzll(mask);
                values[n] = value_of(in, at, c);
                rows[n] = (slot + uint32_t(c)) * LANES;
            }
        },
        [&](int position) { starts[position + 1] = n; });
}

template <class Tier>
void list(const GatherInputs& g) {
    if (g.into->path == Path::Weighted)
        list_values(g);
    else if (g.into->path == Path::Graded)
        g.source->format == Format::Few ? list_few(g) : list_counts<Tier>(g);
    else if (g.channels == g.source->channels && g.channels % LANES == 0)
        list_whole_words<Tier>(g);
    else
        list_spikes<Tier>(g);
}

// k[c] = bit c.
template <class Tier>
LMHT_INLINE void put_bits(uint64_t mask, uint8_t* k) {
    typename Tier::Counts counts;
    Tier::count(counts, mask);
    Tier::put(counts, k);
}

// Every value of the slots under the row; zero in the padding. Each store of a word may spill over
// what follows it. `FEW_COUNTS`: those of Format::Few, eight bytes at a time.
template <class Tier, bool FEW_COUNTS>
void fill_slots(const GatherInputs& g) {
    const RowInputs& into = *g.into;
    const Spikes& in = *g.source;
    uint8_t* at = into.dense + g.of.block * into.row_pitch;
    const Inside inside = rows_inside(g);
    const size_t pitch = size_t(g.row_step) * in.width * in.words;
    for (int position = 0; position < into.positions; ++position) {
        const int x = g.columns[position];
        size_t word = inside.origin + size_t(x) * in.words + g.channel0 / LANES;
        for (int ky = 0; ky < g.kernel_height; ++ky, at += g.channels) {
            const bool there = x >= 0 && ky >= inside.ky0 && ky < inside.ky1;
            if (FEW_COUNTS) {
                const uint64_t counts = there ? in.few[word] : 0;
                memcpy(at, &counts, sizeof counts);
            } else {
                for (int c = 0; c < g.channels; c += LANES) {
                    if (!there)
                        memset(at + c, 0, LANES);
                    else if (in.format == Format::Counts)
                        memcpy(at + c, in.count + (word + c / LANES) * LANES, LANES);
                    else
                        put_bits<Tier>(in.mask[word + c / LANES], at + c);
                }
            }
            if (there) word += pitch;
        }
    }
    memset(at, 0, QUAD);
}

template <class Tier>
void fill(const GatherInputs& g) {
    if (g.source->format == Format::Few)
        fill_slots<Tier, true>(g);
    else
        fill_slots<Tier, false>(g);
}

// ----------------------------------------------------------------------------------------------
// currents of a tile

LMHT_INLINE void add_listed_values(Lanes& sum, const uint8_t* weights, const uint32_t* rows,
                                   const int32_t* values, uint32_t n) {
    uint32_t total = 0;
    for (uint32_t i = 0; i < n; ++i) {
        const uint32_t value = uint32_t(values[i]);
        total += value;
        LMHT_UNROLL for (int part = 0; part < PARTS; ++part) {
            const U32 row = reinterpret_cast<const AnyU32*>(weights + rows[i])[part];
            sum.v[part] += (row & 0xff) * value;
            sum.v[16 / PER + part] += (row >> 16 & 0xff) * value;
            sum.v[32 / PER + part] += (row >> 8 & 0xff) * value;
            sum.v[48 / PER + part] += (row >> 24) * value;
        }
    }
    add(sum, splat(0u - 128u * total));
}

// The pixels of a tile whose currents are computed together.
struct Tile {
    int x0, pixels;
};

constexpr int LINE = 64;  // bytes that are fetched at once

// Weights that are needed soon, fetched little by little, for fetches in a burst would hold up what
// is computed now.
struct Ahead {
    const uint8_t *at, *end;
    int lines;  // beside one pixel of one block

    Ahead(const NeuronRow& row, int first_block) : at(row.ahead), end(row.ahead + row.ahead_bytes) {
        const int units = row.width * (row.blocks - first_block);
        lines = int((row.ahead_bytes / LINE + units - 1) / units);
    }

    LMHT_INLINE void fetch(int n) {
        for (; n > 0 && at < end; --n, at += LINE) __builtin_prefetch(at, 0, 2);
    }
};

// What a synapse adds to: the biases for the first synapse, else the currents so far. Pixels are
// `pitch` apart.
struct Base {
    const int32_t* at;
    size_t pitch;
};

LMHT_INLINE Base base_of(const NeuronRow& row, const SynapseRow& synapse, const int32_t* currents) {
    if (&synapse == row.synapses) return {row.neurons.bias, 0};
    return {currents, size_t(row.blocks) * LANES};
}

// Adds what a synapse brings to X of one block: add(x, sum) for every pixel of the tile. Currents
// of a synapse with an exponent are summed apart and shifted.
template <class Add>
LMHT_INLINE void for_each_pixel(const NeuronRow& row, const SynapseRow& synapse, Tile tile,
                                int block, Add add_to) {
    int32_t* at = row.currents + size_t(block) * LANES;
    const size_t pitch = size_t(row.blocks) * LANES;
    Base base = base_of(row, synapse, at);
    for (int p = 0; p < tile.pixels; ++p, at += pitch, base.at += base.pitch) {
        Lanes sum = synapse.exponent ? splat(0) : load(base.at);
        add_to(tile.x0 + p, sum);
        if (synapse.exponent) {
            shift_left(sum, synapse.exponent);
            add(sum, load(base.at));
        }
        store(sum, at);
    }
}

// Currents of one block from its lists: use(sum, x, weights, begin, n) adds those of pixel x.
template <class Use>
LMHT_INLINE void for_each_list(const NeuronRow& row, const SynapseRow& synapse, Tile tile,
                               int block, Ahead& ahead, Use use) {
    const uint32_t* const starts = starts_of(*synapse.inputs, block);
    const int32_t* const first = synapse.first;
    const uint8_t* const weights = synapse.weights;
    const int kernel_width = synapse.kernel_width;
    // Slots count from the first position of the row, the weights from the first position of the
    // pixel.
    const size_t position_bytes = size_t(synapse.column_rows) * LANES;
    for_each_pixel(row, synapse, tile, block, [&](int x, Lanes& sum) {
        ahead.fetch(ahead.lines);
        const uint32_t begin = starts[first[x]];
        use(sum, x, weights - size_t(first[x]) * position_bytes, begin,
            starts[first[x] + kernel_width] - begin);
    });
}

// Of graded spikes. Not inlined, for the loops over binary spikes beside it would lose registers.
template <class Tier>
LMHT_APART void add_graded(const NeuronRow& row, const SynapseRow& synapse, Tile tile, int block,
                           Ahead& ahead) {
    const RowInputs& in = *synapse.inputs;
    const int twice = row.blocks + block;
    const uint32_t *const rows = rows_of(in, block), *const twice_rows = rows_of(in, twice),
                          *const twice_starts = starts_of(in, twice);
    for_each_list(
        row, synapse, tile, block, ahead,
        [&](Lanes& sum, int x, const uint8_t* weights, uint32_t begin, uint32_t n) {
            const uint32_t twice_begin = twice_starts[synapse.first[x]],
                           m = twice_starts[synapse.first[x] + synapse.kernel_width] - twice_begin;
            Tier::add_graded(sum, weights, {rows + begin, n}, {twice_rows + twice_begin, m});
        });
}

template <class Tier>
LMHT_INLINE void add_listed(const NeuronRow& row, const SynapseRow& synapse, Tile tile, int block,
                            Ahead& ahead) {
    const RowInputs& in = *synapse.inputs;
    const uint32_t* const rows = rows_of(in, block);
    const int32_t* const values = in.values + block * in.row_pitch;
    if (in.path == Path::Weighted)
        for_each_list(row, synapse, tile, block, ahead,
                      [&](Lanes& sum, int, const uint8_t* weights, uint32_t begin, uint32_t n) {
                          add_listed_values(sum, weights, rows + begin, values + begin, n);
                      });
    else
        for_each_list(row, synapse, tile, block, ahead,
                      [&](Lanes& sum, int, const uint8_t* weights, uint32_t begin, uint32_t n) {
                          if (n) Tier::add_rows(sum, weights, {rows + begin, n});
                      });
}

// Currents of pairs of blocks: what both share is added once.
template <class Tier>
LMHT_INLINE void add_shared(const NeuronRow& row, const SynapseRow& synapse, Tile tile, int pair,
                            Ahead& ahead) {
    const RowInputs& in = *synapse.inputs;
    const int block = 2 * pair, lists[3] = {row.blocks + pair, block, block + 1};
    const uint32_t *starts[3], *rows[3];
    for (int i = 0; i < 3; ++i) {
        starts[i] = starts_of(in, lists[i]);
        rows[i] = rows_of(in, lists[i]);
    }
    const size_t position_bytes = size_t(synapse.column_rows) * LANES;
    int32_t* at = row.currents + size_t(block) * LANES;
    Base base = base_of(row, synapse, at);
    const size_t next_base = base.pitch ? LANES : 0;  // from one block to the next
    for (int p = 0; p < tile.pixels; ++p, at += size_t(row.blocks) * LANES, base.at += base.pitch) {
        ahead.fetch(2 * ahead.lines);
        const int first = synapse.first[tile.x0 + p];
        const uint8_t* const weights = synapse.weights - size_t(first) * position_bytes;
        const auto add_list = [&](Lanes& sum, int i) {
            const uint32_t begin = starts[i][first],
                           n = starts[i][first + synapse.kernel_width] - begin;
            if (n) Tier::add_rows(sum, weights, {rows[i] + begin, n});
        };
        Lanes both = splat(0);
        add_list(both, 0);
        for (int i = 1; i < 3; ++i) {
            Lanes sum = both;
            add_list(sum, i);
            if (synapse.exponent) shift_left(sum, synapse.exponent);
            add(sum, load(base.at + (i - 1) * next_base));
            store(sum, at + (i - 1) * LANES);
        }
    }
}

// Dot products of P pixels with V vectors of channels at a time: as many accumulators as the tier
// has registers for.
template <class Tier, int P>
LMHT_INLINE void add_dots(const uint8_t* values, ptrdiff_t pixel_bytes, const int8_t* weights,
                          int quads, Base base, int32_t* to, size_t pitch, int exponent,
                          Ahead& ahead) {
    constexpr int V = Tier::dense_vectors;
    for (int v0 = 0; v0 < VECTORS; v0 += V) {
        I32 sum[P][V] = {};
        const int8_t* w = weights + v0 * BYTES;
        for (int q = 0; q < quads; ++q, w += QUAD * LANES) {
            if (q < P * ahead.lines) ahead.fetch(1);
            LMHT_UNROLL for (int p = 0; p < P; ++p) {
                uint32_t four;
                memcpy(&four, values + p * pixel_bytes + q * QUAD, QUAD);
                const I32 value = (I32)(U32{} + four);
                LMHT_UNROLL for (int v = 0; v < V; ++v) sum[p][v] =
                    Tier::dot(sum[p][v], value, reinterpret_cast<const AnyI32*>(w)[v]);
            }
        }
        LMHT_UNROLL for (int p = 0; p < P; ++p)
            LMHT_UNROLL for (int v = 0; v < V;
                             ++v) reinterpret_cast<AnyU32*>(to + p * pitch)[v0 + v] =
                reinterpret_cast<const AnyU32*>(base.at + p * base.pitch)[v0 + v] +
                ((U32)sum[p][v] << exponent);
    }
}

template <class Tier, int P = Tier::dense_pixels>
LMHT_INLINE void add_dots_of(int pixels, const uint8_t* values, ptrdiff_t pixel_bytes,
                             const int8_t* weights, int quads, Base base, int32_t* to, size_t pitch,
                             int exponent, Ahead& ahead) {
    if constexpr (P > 1)
        if (pixels < P)
            return add_dots_of<Tier, P - 1>(pixels, values, pixel_bytes, weights, quads, base, to,
                                            pitch, exponent, ahead);
    add_dots<Tier, P>(values, pixel_bytes, weights, quads, base, to, pitch, exponent, ahead);
}

// Output pixels of a row lie `stride` positions apart, or, with a dilation, in runs that do.
template <class Tier>
void add_dense(const NeuronRow& row, const SynapseRow& synapse, Tile tile, int block,
               Ahead& ahead) {
    const uint8_t* dense = synapse.inputs->dense + block * synapse.inputs->row_pitch;
    const int quads = (synapse.kernel_width * synapse.column_slots + QUAD - 1) / QUAD;
    const int end = tile.x0 + tile.pixels;
    for (int x = tile.x0; x < end;) {
        const int step = x + 1 < end ? synapse.first[x + 1] - synapse.first[x] : 0;
        int pixels = 1;
        while (pixels < Tier::dense_pixels && x + pixels < end &&
               synapse.first[x + pixels] - synapse.first[x] == pixels * step)
            ++pixels;
        int32_t* const to = row.currents + (size_t(x - tile.x0) * row.blocks + block) * LANES;
        add_dots_of<Tier>(pixels, dense + size_t(synapse.first[x]) * synapse.column_slots,
                          ptrdiff_t(step) * synapse.column_slots, synapse.quads, quads,
                          base_of(row, synapse, to), to, size_t(row.blocks) * LANES,
                          synapse.exponent, ahead);
        x += pixels;
    }
}

// Adds k times weight[c] for every channel that is marked.
inline void add_marked(Lanes& sum, const Spikes& in, size_t at, const int32_t* weight) {
    int32_t product[LANES] = {};
    for (uint64_t mask = in.mask[at]; mask; mask &= mask - 1) {
        const int c = __builtin_ctzll(mask);
        product[c] = int32_t(uint32_t(value_of(in, at, c)) * uint32_t(weight[c]));
    }
    add(sum, load(product));
}

template <class Tier>
LMHT_INLINE void add_channelwise(const SynapseRow& synapse, int x, int block, int word,
                                 Lanes& sum) {
    const Spikes& in = *synapse.source;
    for (int ky = 0; ky < synapse.kernel_height; ++ky)
        for (int kx = 0; kx < synapse.kernel_width; ++kx) {
            const int iy = synapse.first_row + ky * synapse.row_step,
                      ix = x * synapse.stride_x + synapse.first_column + kx * synapse.column_step;
            if (iy < 0 || iy >= in.height || ix < 0 || ix >= in.width) continue;
            const size_t at = in.word(block, iy, ix) + word;
            const int32_t* weight =
                synapse.taps + (size_t(ky) * synapse.kernel_width + kx) * synapse.tap_pitch;
            if (in.format == Format::Wide)
                LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) sum.v[n] +=
                    load(in.wide + at * LANES).v[n] * load(weight).v[n];
            else if (in.format == Format::Counts)
                Tier::add_products(sum, in.count + at * LANES, weight);
            else if (in.format == Format::Few)
                add_marked(sum, in, at, weight);
            else
                Tier::add_where(sum, in.mask[at], weight);
        }
}

// Whether a block is of a pair that has a list of what it shares.
LMHT_INLINE bool shares(const RowInputs& in, int block, int blocks) {
    return in.path == Path::Shared && block / 2 < blocks / 2 &&
           starts_of(in, blocks + block / 2)[in.positions];
}

// Currents X of a tile, from a block on: [pixels][blocks][64].
template <class Tier>
LMHT_INLINE void tile_currents(const NeuronRow& row, Tile tile, int first_block, Ahead& ahead) {
    for (int s = 0; s < row.n_synapses; ++s) {
        const SynapseRow& synapse = row.synapses[s];
        for (int block = first_block; block < row.blocks; ++block) {
            if (shares(*synapse.inputs, block, row.blocks)) {
                add_shared<Tier>(row, synapse, tile, block / 2, ahead);
                block |= 1;  // both are done
            } else if (synapse.inputs->path == Path::Channelwise) {
                for_each_pixel(row, synapse, tile, block, [&](int x, Lanes& sum) {
                    add_channelwise<Tier>(synapse, x, block, row.word, sum);
                });
            } else if (synapse.inputs->path == Path::Graded) {
                add_graded<Tier>(row, synapse, tile, block, ahead);
            } else if (synapse.inputs->path != Path::Dense) {
                add_listed<Tier>(row, synapse, tile, block, ahead);
            } else if constexpr (Tier::dense_most > 0) {
                add_dense<Tier>(row, synapse, tile, block, ahead);
            }
        }
    }
}

// ----------------------------------------------------------------------------------------------
// neurons

constexpr int MOST_COMPARED =
    8;  // levels up to which comparing level by level is cheaper than dividing

// k = clip(v // theta, 0, levels) by division, for neurons of many levels; v keeps the remainder.
void fire_by_division(Lanes& v, const NeuronSlice& neurons, const Spikes& out, size_t at) {
    int32_t potential[LANES], k[LANES];
    store(v, potential);
    for (int c = 0; c < LANES; ++c) {
        const int32_t theta = neurons.threshold[c],
                      quotient = potential[c] < 0 ? 0 : potential[c] / theta;
        k[c] = quotient < neurons.levels ? quotient : neurons.levels;
        potential[c] -= k[c] * theta;
    }
    v = load(potential);
    write_values(out, at, k);
}

// The same level by level: the spikes of level l are those neurons that still reach theta after l -
// 1 subtractions.
template <class Tier>
LMHT_INLINE void fire_by_comparison(Lanes& v, const Lanes& theta, int levels, const Spikes& out,
                                    size_t at) {
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

// Adds the mixed currents of a step to v; current(block) is one of them.
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

template <class Tier>
LMHT_INLINE void fire_pixel(const NeuronRow& row, const int32_t* currents, int x) {
    const NeuronSlice& neurons = row.neurons;
    const Lanes theta = load(neurons.threshold);
    Lanes v = load(neurons.v0);
    for (int step = 0; step < neurons.steps; ++step) {
        if (neurons.leak != LEAK_ONE && step % neurons.substeps == 0) Tier::scale(v, neurons.leak);
        add_drive(v, neurons, step,
                  [&](int block) { return load(currents + size_t(block) * LANES); });
        const size_t at = row.out->word(step, row.y, x) + row.word;
        if (neurons.levels > MOST_COMPARED)
            fire_by_division(v, neurons, *row.out, at);
        else
            fire_by_comparison<Tier>(v, theta, neurons.levels, *row.out, at);
    }
}

// Neurons of few levels without leak.
bool plain(const NeuronRow& row) {
    return row.neurons.leak == LEAK_ONE && row.neurons.levels <= MOST_COMPARED;
}

// Where the pixels of a row begin to differ: a step, its v, and the first block that is needed from
// there on.
struct Start {
    int step, block;
    Lanes v;
};

// The steps of a `plain` row before the first spike under it: all pixels add biases alone.
template <class Tier>
LMHT_INLINE Start fire_quiet(const NeuronRow& row) {
    const NeuronSlice& neurons = row.neurons;
    const Lanes theta = load(neurons.threshold), bias = load(neurons.bias);
    const auto blocks_of = [&](int step, auto visit) {
        for (int i = neurons.term_start[step]; i < neurons.term_start[step + 1]; ++i)
            visit(neurons.terms[i].block);
    };
    Start start{0, row.blocks, load(neurons.v0)};
    for (; start.step < neurons.steps; ++start.step) {
        bool quiet = true;
        blocks_of(start.step, [&](int block) { quiet = quiet && block < row.quiet; });
        if (!quiet) break;
        add_drive(start.v, neurons, start.step, [&](int) { return bias; });
        const Spikes& out = *row.out;
        const size_t first = out.word(start.step, row.y, 0) + row.word;
        fire_by_comparison<Tier>(start.v, theta, neurons.levels, out, first);
        for (size_t x = 1, at = first + out.words; x < size_t(row.width); ++x, at += out.words) {
            out.mask[at] = out.mask[first];
            if (out.count) memcpy(out.count + at * LANES, out.count + first * LANES, LANES);
        }
    }
    for (int step = start.step; step < neurons.steps; ++step)
        blocks_of(step,
                  [&](int block) { start.block = block < start.block ? block : start.block; });
    return start;
}

// `fire_pixel` of all pixels of a tile where the row is `plain`.
template <class Tier, Drive DRIVE, bool GRADED>
LMHT_INLINE void fire_plain_pixels(const NeuronRow& row, Tile tile, const Start& start) {
    const NeuronSlice& neurons = row.neurons;
    const Lanes theta = load(neurons.threshold);
    const Term* const terms = neurons.terms;
    const int steps = neurons.steps, levels = neurons.levels;
    const Spikes& out = *row.out;
    const size_t pitch = size_t(row.blocks) * LANES, step_words = out.word(1, 0, 0);
    const int32_t* currents = row.currents;
    size_t pixel = out.word(start.step, row.y, tile.x0) + row.word;
    const auto current = [&](int block) { return load(currents + size_t(block) * LANES); };
    for (int p = 0; p < tile.pixels; ++p, currents += pitch, pixel += out.words) {
        Lanes v = start.v, drive = splat(0);
        if (DRIVE == Drive::Constant) add_drive(drive, neurons, 0, current);
        size_t at = pixel;
        for (int step = start.step; step < steps; ++step, at += step_words) {
            if (DRIVE == Drive::One)
                add(v, current(terms[step].block));
            else if (DRIVE == Drive::Constant)
                add(v, drive);
            else
                add_drive(v, neurons, step, current);
            if (GRADED)
                fire_by_comparison<Tier>(v, theta, levels, out, at);
            else
                out.mask[at] = Tier::fire(v, theta);
        }
    }
}

template <class Tier, bool GRADED>
LMHT_INLINE void fire_plain_tile(const NeuronRow& row, Tile tile, const Start& start) {
    switch (row.neurons.drive) {
        case Drive::One:
            return fire_plain_pixels<Tier, Drive::One, GRADED>(row, tile, start);
        case Drive::Constant:
            return fire_plain_pixels<Tier, Drive::Constant, GRADED>(row, tile, start);
        case Drive::Mixed:
            return fire_plain_pixels<Tier, Drive::Mixed, GRADED>(row, tile, start);
    }
}

// `row.currents` are those of the tile.
template <class Tier>
LMHT_INLINE void fire_tile(const NeuronRow& row, Tile tile, bool is_plain, const Start& start) {
    if (is_plain && row.out->format == Format::Binary)
        fire_plain_tile<Tier, false>(row, tile, start);
    else if (is_plain)
        fire_plain_tile<Tier, true>(row, tile, start);
    else
        for (int p = 0; p < tile.pixels; ++p)
            fire_pixel<Tier>(row, row.currents + size_t(p) * row.blocks * LANES, tile.x0 + p);
}

template <class Tier>
void neurons(const NeuronRow& row) {
    const bool is_plain = plain(row);
    const Start start = is_plain ? fire_quiet<Tier>(row) : Start{};
    if (start.block == row.blocks) return;  // without a spike
    Ahead ahead(row, start.block);
    for (int x = 0; x < row.width; x += TILE) {
        const Tile tile{x, row.width - x < TILE ? row.width - x : TILE};
        tile_currents<Tier>(row, tile, start.block, ahead);
        fire_tile<Tier>(row, tile, is_plain, start);
    }
}

template <class Tier>
void currents(const NeuronRow& row) {
    Ahead ahead(row, 0);
    tile_currents<Tier>(row, {0, row.width}, 0, ahead);
}

template <class Tier>
void fire(const NeuronRow& row) {
    fire_tile<Tier>(row, {0, row.width}, plain(row), {0, 0, load(row.neurons.v0)});
}

// ----------------------------------------------------------------------------------------------
// sums and pooling

// Word `to` of `out`: the sum of `span` words of `in`, from `at` on.
template <class Tier>
LMHT_INLINE void sum_words(const Spikes& in, size_t at, int span, const Spikes& out, size_t to) {
    const size_t step_words = in.word(1, 0, 0);
    uint64_t any = 0;
    if (in.format == Format::Binary && out.format == Format::Counts) {
        typename Tier::Counts counts;
        for (int s = 0; s < span; ++s, at += step_words) {
            any |= in.mask[at];
            Tier::count(counts, in.mask[at]);
        }
        out.mask[to] = any;
        Tier::put(counts, out.count + to * LANES);
    } else if (in.format == Format::Few && out.format == Format::Few) {
        uint64_t counts = 0;  // no byte overflows: the format says that sums fit
        for (int s = 0; s < span; ++s, at += step_words) {
            any |= in.mask[at];
            counts += in.few[at];
        }
        out.mask[to] = any;
        out.few[to] = counts;
    } else {
        int32_t sum[LANES] = {}, k[LANES];
        for (int s = 0; s < span; ++s, at += step_words) {
            read_values(in, at, k);
            for (int c = 0; c < LANES; ++c) sum[c] += k[c];
        }
        write_values(out, to, sum);
    }
}

template <class Tier>
int64_t sum_steps(const Spikes& in, const Spikes& out, int y) {
    const int span = in.steps / out.steps, words = in.width * in.words;
    int64_t places = 0;
    for (int block = 0; block < out.steps; ++block)
        for (int i = 0; i < words; ++i) {
            const size_t to = out.word(block, y, 0) + i;
            sum_words<Tier>(in, in.word(block * span, y, 0) + i, span, out, to);
            places += __builtin_popcountll(out.mask[to]);
        }
    return places;
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
            for (int c = 0; c < LANES; ++c)
                result[c] = !row.max                    ? result[c] + k[c]
                            : first || k[c] > result[c] ? k[c]
                                                        : result[c];
            first = false;
        }
    write_values(*row.out, row.out->word(step, row.y, x) + word, result);
}

// The maximum of binary spikes is their union.
void pool_union(const PoolRow& row, int step, int x, int word) {
    const Spikes& in = *row.in;
    uint64_t mask = 0;
    for (int ky = 0; ky < row.kernel_y; ++ky)
        for (int kx = 0; kx < row.kernel_x; ++kx) {
            const int iy = row.first_row + ky, ix = x * row.stride_x - row.padding_x + kx;
            if (iy >= 0 && iy < in.height && ix >= 0 && ix < in.width)
                mask |= in.mask[in.word(step, iy, ix) + word];
        }
    row.out->mask[row.out->word(step, row.y, x) + word] = mask;
}

// The sum of at most 255 binary spikes is counted byte by byte.
template <class Tier>
void pool_count(const PoolRow& row, int step, int x, int word) {
    const Spikes& in = *row.in;
    const size_t to = row.out->word(step, row.y, x) + word;
    typename Tier::Counts counts;
    uint64_t any = 0;
    for (int ky = 0; ky < row.kernel_y; ++ky)
        for (int kx = 0; kx < row.kernel_x; ++kx) {
            const int iy = row.first_row + ky, ix = x * row.stride_x - row.padding_x + kx;
            if (iy < 0 || iy >= in.height || ix < 0 || ix >= in.width) continue;
            const uint64_t mask = in.mask[in.word(step, iy, ix) + word];
            any |= mask;
            if (mask) Tier::count(counts, mask);
        }
    row.out->mask[to] = any;
    Tier::put(counts, row.out->count + to * LANES);
}

template <class Tier>
void pool(const PoolRow& row) {
    const bool binary = row.in->format == Format::Binary;
    for (int step = 0; step < row.out->steps; ++step)
        for (int x = 0; x < row.out->width; ++x)
            for (int word = 0; word < row.out->words; ++word) {
                if (binary && row.max)
                    pool_union(row, step, x, word);
                else if (binary && row.out->format == Format::Counts)
                    pool_count<Tier>(row, step, x, word);
                else
                    pool_word(row, step, x, word);
            }
}

// ----------------------------------------------------------------------------------------------
// counting

// Neurons of a row that fire in both steps of a pair.
void tally_shared(const Spikes& spikes, int64_t* shared, int y) {
    for (int step = 0; step + 1 < spikes.steps; step += 2, ++shared) {
        int64_t both = 0;
        const uint64_t *const one = spikes.mask + spikes.word(step, y, 0), *const other =
                                                                               spikes.mask +
                                                                               spikes.word(step + 1,
                                                                                           y, 0);
        for (int i = 0; i < spikes.width * spikes.words; ++i)
            both += __builtin_popcountll(one[i] & other[i]);
        *shared = both;
    }
}

// Steps in which a row has spikes, as in `Tally`.
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

// Spikes of a row, graded ones as one, by the pixel, in all steps.
template <class Tier>
LMHT_INLINE void tally_events(const Spikes& spikes, int64_t* events, int y) {
    const uint64_t* mask = spikes.mask + spikes.word(0, y, 0);
    const size_t step_words = spikes.word(1, 0, 0);
    if (spikes.words == 1)
        return Tier::popcounts(mask, step_words, spikes.steps, spikes.width, events);
    int64_t counts[LANES];
    memset(events, 0, spikes.width * sizeof *events);
    for (int left = spikes.width * spikes.words, word = 0; left > 0; left -= LANES, mask += LANES) {
        const int some = left < LANES ? left : LANES;
        Tier::popcounts(mask, step_words, spikes.steps, some, counts);
        for (int i = 0; i < some; ++i) {
            *events += counts[i];
            if (++word == spikes.words) word = 0, ++events;
        }
    }
}

// The sum of their values.
template <class Tier>
LMHT_INLINE void tally_total(const Spikes& spikes, int64_t* __restrict total, int y) {
    const size_t step_words = spikes.word(1, 0, 0);
    if (spikes.format == Format::Counts) {
        for (int x = 0; x < spikes.width; ++x)
            total[x] = Tier::sum(spikes.count + spikes.word(0, y, x) * LANES, step_words,
                                 spikes.steps, spikes.words);
        return;
    }
    memset(total, 0, spikes.width * sizeof *total);
    constexpr uint64_t EVEN = 0x00ff00ff00ff00ff;
    for (int step = 0; step < spikes.steps; ++step) {
        const size_t at = spikes.word(step, y, 0);
        for (int x = 0; x < spikes.width; ++x)
            if (spikes.format == Format::Few)
                total[x] +=
                    int64_t(((spikes.few[at + x] & EVEN) + (spikes.few[at + x] >> 8 & EVEN)) *
                                0x0001000100010001 >>
                            48);
            else
                for (int c = 0; c < spikes.words * LANES; ++c)
                    total[x] += spikes.wide[(at + size_t(x) * spikes.words) * LANES + c];
    }
}

template <class Tier>
void tally(const Spikes& spikes, const Tally& into, int y) {
    int64_t *const events = into.events + size_t(y) * spikes.width, *const total =
                                                                        into.total +
                                                                        size_t(y) * spikes.width;
    tally_events<Tier>(spikes, events, y);
    if (spikes.format == Format::Binary)
        tally_shared(spikes, into.row_shared + size_t(y) * (spikes.steps / 2), y);
    else
        tally_total<Tier>(spikes, total, y);
    into.row_steps[y] = active_steps(spikes, y);
    into.row_events[y] = into.row_total[y] = 0;
    for (int x = 0; x < spikes.width; ++x) {
        into.row_events[y] += events[x];
        into.row_total[y] += total[x];
    }
}

template <class Tier>
constexpr Kernels table(const char* name, const Costs& costs) {
    return {name,           costs,      Tier::dense_most, list<Tier>, fill<Tier>, neurons<Tier>,
            currents<Tier>, fire<Tier>, sum_steps<Tier>,  pool<Tier>, tally<Tier>};
}

}  // namespace
}  // namespace lmht
