// Currents X of the output pixels of a tile, one synapse after another:
//
//     row.currents   [pixel of the tile][block][64 channels], int32
//
//                    block 0    block 1    block 2    block 3
//     pixel 0      | X[0] 64  | X[1] 64  | X[2] 64  | X[3] 64  |
//     pixel 1      | ...
//
// The first synapse adds to the biases, the others to what is there.
#pragma once
#include "lists.hpp"

namespace lmht {
namespace {

// The pixels of a row whose currents are computed together.
struct Tile {
    int x0, pixels;
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

// Adds what a synapse brings to X of one block: add_to(x, sum) for every pixel of the tile.
// Currents of a synapse with an exponent are summed apart and shifted.
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

// ----------------------------------------------------------------------------------------------
// paths with lists
//
// A list counts slots from the first position of the row, a pixel's weights from its own first
// position. So the weights of pixel x begin `first[x]` positions before `synapse.weights`:
//
//     list of the row       | entries of position 0 | position 1 | position 2 | position 3 | ...
//     pixel x, first[x]=1                           `------------ kernel.x = 3 -----------'
//                                                   begin                                 + n

// Currents of one block from its lists: use(sum, x, weights, begin, n) adds those of pixel x.
template <class Use>
LMHT_INLINE void for_each_list(const NeuronRow& row, const SynapseRow& synapse, Tile tile,
                               int block, Prefetcher& prefetcher, Use use) {
    const uint32_t* const starts = starts_of(*synapse.inputs, block);
    const int32_t* const first = synapse.first;
    const uint8_t* const weights = synapse.weights;
    const int kernel_width = synapse.kernel_width;
    const size_t position_bytes = size_t(synapse.column_rows) * LANES;
    for_each_pixel(row, synapse, tile, block, [&](int x, Lanes& sum) {
        prefetcher.begin(prefetcher.lines());
        const uint32_t begin = starts[first[x]];
        use(sum, x, weights - size_t(first[x]) * position_bytes, begin,
            starts[first[x] + kernel_width] - begin);
        prefetcher.finish();
    });
}

// Path::Graded. Not inlined, because the loops over binary spikes beside it would lose registers.
template <class Tier>
LMHT_NOINLINE void add_graded(const NeuronRow& row, const SynapseRow& synapse, Tile tile, int block,
                              Prefetcher& prefetcher) {
    const RowInputs& in = *synapse.inputs;
    const int twice = row.blocks + block;
    const uint32_t *const rows = rows_of(in, block), *const twice_rows = rows_of(in, twice),
                          *const twice_starts = starts_of(in, twice);
    for_each_list(row, synapse, tile, block, prefetcher,
                  [&](Lanes& sum, int x, const uint8_t* weights, uint32_t begin, uint32_t n) {
                      const uint32_t twice_begin = twice_starts[synapse.first[x]],
                                     m = twice_starts[synapse.first[x] + synapse.kernel_width] -
                                         twice_begin;
                      Tier::add_graded(sum, weights, {rows + begin, n},
                                       {twice_rows + twice_begin, m}, prefetcher);
                  });
}

// Adds n rows of weights, each times a value.
LMHT_INLINE void add_weighted_rows(Lanes& sum, const uint8_t* weights, const uint32_t* rows,
                                   const int32_t* values, uint32_t n) {
    uint32_t total = 0;
    for (uint32_t i = 0; i < n; ++i) {
        const uint32_t value = uint32_t(values[i]);
        total += value;
        LMHT_UNROLL for (int part = 0; part < PARTS; ++part) {
            // Bytes of a group of four: channels d, d + 32, d + 16, d + 48.
            const U32 row = reinterpret_cast<const AnyU32*>(weights + rows[i])[part];
            sum.v[part] += (row & 0xff) * value;
            sum.v[16 / PER + part] += (row >> 16 & 0xff) * value;
            sum.v[32 / PER + part] += (row >> 8 & 0xff) * value;
            sum.v[48 / PER + part] += (row >> 24) * value;
        }
    }
    add(sum, splat(0u - 128u * total));  // the bias of the weights
}

// Path::Ones, Path::Weighted, and Path::Shared where the lists of a pair are complete.
template <class Tier>
LMHT_INLINE void add_listed(const NeuronRow& row, const SynapseRow& synapse, Tile tile, int block,
                            Prefetcher& prefetcher) {
    const RowInputs& in = *synapse.inputs;
    const uint32_t* const rows = rows_of(in, block);
    const int32_t* const values = in.values + block * in.row_pitch;
    if (in.path == Path::Weighted)
        for_each_list(row, synapse, tile, block, prefetcher,
                      [&](Lanes& sum, int, const uint8_t* weights, uint32_t begin, uint32_t n) {
                          add_weighted_rows(sum, weights, rows + begin, values + begin, n);
                      });
    else
        for_each_list(row, synapse, tile, block, prefetcher,
                      [&](Lanes& sum, int, const uint8_t* weights, uint32_t begin, uint32_t n) {
                          if (n) Tier::add_rows(sum, weights, {rows + begin, n}, prefetcher);
                      });
}

// Whether a block is of a pair that has a list of what it shares.
LMHT_INLINE bool is_shared(const RowInputs& in, int block, int blocks) {
    return in.path == Path::Shared && block / 2 < blocks / 2 &&
           starts_of(in, blocks + block / 2)[in.positions];
}

// Path::Shared: the currents of both blocks of a pair. What they share is added once.
//
//     list of the pair    -> both ---+--> X[block]     + list of block
//                                    `--> X[block + 1] + list of block + 1
template <class Tier>
LMHT_INLINE void add_shared(const NeuronRow& row, const SynapseRow& synapse, Tile tile, int pair,
                            Prefetcher& prefetcher) {
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
        prefetcher.begin(2 * prefetcher.lines());
        const int first = synapse.first[tile.x0 + p];
        const uint8_t* const weights = synapse.weights - size_t(first) * position_bytes;
        const auto add_list = [&](Lanes& sum, int i) {
            const uint32_t begin = starts[i][first],
                           n = starts[i][first + synapse.kernel_width] - begin;
            if (n) Tier::add_rows(sum, weights, {rows[i] + begin, n}, prefetcher);
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
        prefetcher.finish();
    }
}

// ----------------------------------------------------------------------------------------------
// Path::Dense
//
// A quad is four consecutive slots. One dot product takes the four values of a quad, the same for
// all channels, and the four weights of each channel:
//
//     values       | k0 k1 k2 k3 | k0 k1 k2 k3 | ...      broadcast, unsigned bytes
//     weights      | w0 w1 w2 w3 | w0 w1 w2 w3 | ...      of channel c, c + 1, ..., signed bytes
//     sum[c] += k0 * w0 + k1 * w1 + k2 * w2 + k3 * w3     int32

// How many dot products fit 16-bit sums of two products each. One adds at most 2 * max_count * 128
// to such a sum, so n of them do where n * max_count <= 127: 2 * 127 * 128 = 32512 < 2^15. None
// does where counts are larger.
LMHT_INLINE int quads_in_16_bits(int max_count) {
    return max_count > 1 ? 127 / max_count : 127;
}

// Output pixels at equal distances.
struct DotPixels {
    const uint8_t* values;  // of the first pixel
    ptrdiff_t value_pitch;  // from pixel to pixel
    const int8_t* weights;
    int vectors;                 // of output channels; the others are padding
    int runs, quads, run_pitch;  // `quads` that follow each other, `runs` times, `run_pitch` apart
    int quads_at_once;           // whose sums fit 16 bits
    Base base;
    int32_t* to;
    size_t pitch;  // from pixel to pixel, of `to`
    int exponent;
};

// The dot products from quad `first` to quad `end`, of P pixels and V vectors of channels from `v0`
// on: as many sums as the tier has registers for. Where nothing is fetched, the loop has nothing
// but dot products: all else would take their ports.
template <class Tier, int P, int V>
LMHT_INLINE void sum_dots(I32 (&sum)[P][V], const DotPixels& dots, int v0, int first, int end,
                          Prefetcher& prefetcher) {
    const int8_t* w = dots.weights + (first * LANES * QUAD + v0 * BYTES);
    const uint8_t* values = dots.values + first * QUAD;
    const auto add_quad = [&]() LMHT_INLINE_LAMBDA {
        LMHT_UNROLL for (int p = 0; p < P; ++p) {
            uint32_t four;
            memcpy(&four, values + p * dots.value_pitch, QUAD);
            const I32 value = (I32)(U32{} + four);
            LMHT_UNROLL for (int v = 0; v < V; ++v) sum[p][v] =
                Tier::dot(sum[p][v], value, reinterpret_cast<const AnyI32*>(w)[v]);
        }
        values += QUAD;
        w += QUAD * LANES;
    };
    const int fetched = P * V * prefetcher.lines() / VECTORS;
    for (; first < end && first < fetched; ++first) {
        prefetcher.fetch(1);
        add_quad();
    }
    for (; first < end; ++first) add_quad();
}

// A tier whose dot products take any counts.
template <class Tier>
struct WideDots : Tier {
    static LMHT_INLINE I32 dot(I32 sum, I32 values, I32 weights) {
        return Tier::wide_dot(sum, values, weights);
    }
};

// The dot products of one run, which begins at quad `first`.
template <class Tier, int P, int V>
LMHT_INLINE void add_run(I32 (&sum)[P][V], const DotPixels& dots, int v0, int first,
                         Prefetcher& prefetcher) {
    const int end = first + dots.quads;
    if constexpr (Tier::has_add_quads) {
        prefetcher.fetch(P * V * prefetcher.lines() / VECTORS);
        Tier::add_quads(sum, dots.values + first * QUAD, dots.value_pitch,
                        dots.weights + (first * LANES * QUAD + v0 * PER * Tier::dot_slots),
                        dots.quads);
    } else if constexpr (Tier::narrow_dots) {
        if (dots.quads_at_once == 0)
            return sum_dots<WideDots<Tier>>(sum, dots, v0, first, end, prefetcher);
        for (int next; first < end; first = next) {
            next = end - first > dots.quads_at_once ? first + dots.quads_at_once : end;
            I32 some[P][V] = {};
            sum_dots<Tier>(some, dots, v0, first, next, prefetcher);
            LMHT_UNROLL for (int p = 0; p < P; ++p) LMHT_UNROLL for (int v = 0; v < V; ++v)
                sum[p][v] += Tier::widen(some[p][v]);
        }
    } else {
        sum_dots<Tier>(sum, dots, v0, first, end, prefetcher);
    }
}

template <class Tier, int P>
LMHT_INLINE void add_dots(const DotPixels& dots, Prefetcher& prefetcher) {
    constexpr int V = Tier::dense_vectors;
    for (int v0 = 0; v0 < VECTORS; v0 += V) {
        I32 sum[P][V] = {};
        for (int run = 0; run < dots.runs && v0 < dots.vectors; ++run)
            add_run<Tier>(sum, dots, v0, run * dots.run_pitch, prefetcher);
        LMHT_UNROLL for (int p = 0; p < P; ++p) {
            AnyU32* const to = reinterpret_cast<AnyU32*>(dots.to + p * dots.pitch) + v0;
            const AnyU32* const base =
                reinterpret_cast<const AnyU32*>(dots.base.at + p * dots.base.pitch) + v0;
            LMHT_UNROLL for (int v = 0; v < V; ++v) to[v] =
                base[v] + ((U32)sum[p][v] << dots.exponent);
        }
    }
}

// At most P pixels.
template <class Tier, int P = Tier::dense_pixels>
LMHT_INLINE void add_dots_of(int pixels, const DotPixels& dots, Prefetcher& prefetcher) {
    if constexpr (P > 1)
        if (pixels < P) return add_dots_of<Tier, P - 1>(pixels, dots, prefetcher);
    add_dots<Tier, P>(dots, prefetcher);
}

// The pixels from x on, at most `dense_pixels`, that lie at equal distances. All pixels of a row
// do, unless there is a dilation: then runs of them do.
template <class Tier>
LMHT_INLINE int pixels_at_equal_distances(const SynapseRow& synapse, int x, int end, int distance) {
    int pixels = 1;
    while (pixels < Tier::dense_pixels && x + pixels < end &&
           synapse.first[x + pixels] - synapse.first[x] == pixels * distance)
        ++pixels;
    return pixels;
}

// In whole dot products.
template <class Tier>
LMHT_INLINE int quads_of(int slots) {
    return (slots + Tier::dot_slots - 1) / Tier::dot_slots * (Tier::dot_slots / QUAD);
}

template <class Tier>
void add_dense(const NeuronRow& row, const SynapseRow& synapse, Tile tile, int block,
               Prefetcher& prefetcher) {
    const uint8_t* dense =
        synapse.inputs->dense + block * synapse.inputs->dense_pitch + synapse.first_slot;
    const bool padded = synapse.inside_slots < synapse.column_slots;
    const int column = synapse.column_slots, width = synapse.kernel_width,
              slots = padded ? synapse.inside_slots : width * column;
    const int end = tile.x0 + tile.pixels;
    for (int x = tile.x0; x < end;) {
        const int distance = x + 1 < end ? synapse.first[x + 1] - synapse.first[x] : 0;
        const int pixels = pixels_at_equal_distances<Tier>(synapse, x, end, distance);
        int32_t* const to = row.currents + (size_t(x - tile.x0) * row.blocks + block) * LANES;
        const DotPixels dots{.values = dense + size_t(synapse.first[x]) * synapse.column_slots,
                             .value_pitch = ptrdiff_t(distance) * synapse.column_slots,
                             .weights = synapse.quads + synapse.first_slot * LANES,
                             .vectors = (row.channels + PER - 1) / PER,
                             .runs = padded ? width : 1,
                             .quads = quads_of<Tier>(slots),
                             .run_pitch = quads_of<Tier>(column),
                             .quads_at_once = quads_in_16_bits(synapse.max_count),
                             .base = base_of(row, synapse, to),
                             .to = to,
                             .pitch = size_t(row.blocks) * LANES,
                             .exponent = synapse.exponent};
        add_dots_of<Tier>(pixels, dots, prefetcher);
        x += pixels;
    }
}

// The sums that were multiplied before.
LMHT_INLINE void add_sums(const NeuronRow& row, const SynapseRow& synapse, Tile tile, int block) {
    const int32_t* const sums = synapse.sums + size_t(block) * synapse.sums_pitch;
    for_each_pixel(row, synapse, tile, block, [&](int x, Lanes& sum) LMHT_INLINE_LAMBDA {
        add(sum, load(sums + size_t(x) * LANES));
    });
}

// ----------------------------------------------------------------------------------------------
// Path::Channelwise

// Adds k times weight[c] for every active channel.
inline void add_active(Lanes& sum, const Spikes& in, size_t at, const int32_t* weight) {
    int32_t product[LANES] = {};
    for_each_bit(in.mask[at], [&](int c) {
        product[c] = int32_t(uint32_t(value_of(in, at, c)) * uint32_t(weight[c]));
    });
    add(sum, load(product));
}

// Adds k times weight[c] of the 64 channels of word `at`.
template <class Tier>
LMHT_INLINE void add_channels(Lanes& sum, const Spikes& in, size_t at, const int32_t* weight) {
    if (in.format == Format::Wide)
        LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) sum.v[n] +=
            load(in.wide + at * LANES).v[n] * load(weight).v[n];
    else if (in.format == Format::Counts)
        Tier::add_products(sum, in.count + at * LANES, weight);
    else if (in.format == Format::Packed)
        add_active(sum, in, at, weight);
    else
        Tier::add_where(sum, in.mask[at], weight);
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
            const int tap = ky * synapse.kernel_width + kx;
            add_channels<Tier>(sum, in, in.word(block, iy, ix) + word,
                               synapse.taps + size_t(tap) * synapse.tap_pitch);
        }
}

// Exponents up to which taps fit 16 bits.
constexpr int MAX_TAP_EXPONENT = 8;

// Whether a synapse is a shortcut: one tap, which no padding leaves out.
LMHT_INLINE bool is_shortcut(const SynapseRow& synapse) {
    return synapse.inputs->path == Path::Channelwise && synapse.kernel_height == 1 &&
           synapse.kernel_width == 1 && !synapse.padded && synapse.exponent <= MAX_TAP_EXPONENT;
}

// A shortcut to one output row and 64 channels.
struct Shortcut {
    Spikes in;
    size_t first, pixel_words, block_words;
    int32_t taps[LANES];

    LMHT_INLINE Shortcut(const SynapseRow& synapse, int word)
        : in(*synapse.source),
          first(in.word(0, synapse.first_row, 0) + word),
          pixel_words(size_t(synapse.stride_x) * in.words),
          block_words(in.word(1, 0, 0)) {
        Lanes scaled = load(synapse.taps);
        shift_left(scaled, synapse.exponent);
        store(scaled, taps);
    }

    template <class Tier>
    LMHT_INLINE void add_to(Lanes& sum, int x, int block) const {
        add_channels<Tier>(sum, in, first + block * block_words + x * pixel_words, taps);
    }
};

// ----------------------------------------------------------------------------------------------
// all paths

// Currents X of a tile, from a block on: [pixels][blocks][64]. Not inlined: its two callers would
// each hold all of it.
template <class Tier>
LMHT_NOINLINE void tile_currents(const NeuronRow& row, Tile tile, int first_block,
                                 Prefetcher& prefetcher) {
    for (int s = 0; s < row.n_synapses; ++s) {
        const SynapseRow& synapse = row.synapses[s];
        for (int block = first_block; block < row.blocks; ++block) {
            if (is_shared(*synapse.inputs, block, row.blocks)) {
                add_shared<Tier>(row, synapse, tile, block / 2, prefetcher);
                block |= 1;  // both are done
            } else if (synapse.inputs->path == Path::Channelwise) {
                for_each_pixel(row, synapse, tile, block,
                               [&](int x, Lanes& sum) LMHT_INLINE_LAMBDA {
                                   add_channelwise<Tier>(synapse, x, block, row.word, sum);
                               });
            } else if (synapse.inputs->path == Path::Graded) {
                add_graded<Tier>(row, synapse, tile, block, prefetcher);
            } else if (synapse.inputs->path != Path::Dense) {
                add_listed<Tier>(row, synapse, tile, block, prefetcher);
            } else if (synapse.sums) {
                add_sums(row, synapse, tile, block);
            } else if (block < row.silent_blocks) {
                for_each_pixel(row, synapse, tile, block, [](int, Lanes&) {});
            } else if constexpr (Tier::dense_max > 0) {
                add_dense<Tier>(row, synapse, tile, block, prefetcher);
            }
        }
    }
}

template <class Tier>
void currents(const NeuronRow& row) {
    Prefetcher prefetcher(row, 0);
    tile_currents<Tier>(row, {0, row.width}, 0, prefetcher);
}

}  // namespace
}  // namespace lmht
