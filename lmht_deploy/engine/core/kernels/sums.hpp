// Sums of steps, and pooling.
#pragma once
#include "values.hpp"

namespace lmht {
namespace {

// The sum of words of binary spikes, byte by byte. No byte overflows: the result has the format of
// values that fit.
template <class Tier>
struct BinaryWords {
    typename Tier::Counts k;
    uint64_t any = 0;

    LMHT_INLINE void add(const Spikes& in, size_t at) {
        any |= in.mask[at];
        Tier::count(k, in.mask[at]);
    }

    LMHT_INLINE void raise_to(const Spikes&, size_t) {}  // the maximum is binary: see `pool_union`

    LMHT_INLINE void put(const Spikes& out, size_t to) const {
        out.mask[to] = any;
        Tier::put(k, out.count + to * LANES);
    }
};

// The sum or the maximum of words of counts. No byte overflows here, either.
struct CountWords {
    U8 k[PARTS] = {};
    uint64_t any = 0;

    LMHT_INLINE void add(const Spikes& in, size_t at) {
        any |= in.mask[at];
        LMHT_UNROLL for (int part = 0; part < PARTS; ++part) k[part] += counts(in, at)[part];
    }

    LMHT_INLINE void raise_to(const Spikes& in, size_t at) {
        any |= in.mask[at];
        LMHT_UNROLL for (int part = 0; part < PARTS; ++part) {
            const U8 other = counts(in, at)[part];
            k[part] = k[part] > other ? k[part] : other;
        }
    }

    LMHT_INLINE void put(const Spikes& out, size_t to) const {
        out.mask[to] = any;
        memcpy(out.count + to * LANES, k, LANES);
    }

private:
    static LMHT_INLINE const AnyU8* counts(const Spikes& in, size_t at) {
        return reinterpret_cast<const AnyU8*>(in.count + at * LANES);
    }
};

// ----------------------------------------------------------------------------------------------
// sums of steps

// Word `to` of `out`: the sum of word `at` of `in` and of the same word in the next span - 1 steps.
template <class Tier>
LMHT_INLINE void sum_words(const Spikes& in, size_t at, int span, const Spikes& out, size_t to) {
    const size_t step_words = in.word(1, 0, 0);
    const auto add_to = [&](auto sum) LMHT_INLINE_LAMBDA {
        for (int s = 0; s < span; ++s, at += step_words) sum.add(in, at);
        sum.put(out, to);
    };
    if (in.format == Format::Binary && out.format == Format::Counts) {
        add_to(BinaryWords<Tier>());
    } else if (in.format == Format::Counts && out.format == Format::Counts) {
        add_to(CountWords());
    } else if (in.format == Format::Packed && out.format == Format::Packed) {
        uint64_t any = 0, counts = 0;  // nor here
        for (int s = 0; s < span; ++s, at += step_words) {
            any |= in.mask[at];
            counts += in.packed[at];
        }
        out.mask[to] = any;
        out.packed[to] = counts;
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
int64_t sum_steps(const Spikes& from, const Spikes& into, int y) {
    const Spikes in = from,
                 out = into;  // in registers: bytes that are stored could be those of any
    const int span = in.steps / out.steps, words = in.width * in.words;
    int64_t active = 0;
    for (int block = 0; block < out.steps; ++block) {
        const size_t at = in.word(block * span, y, 0), to = out.word(block, y, 0);
        for (int i = 0; i < words; ++i) {
            sum_words<Tier>(in, at + i, span, out, to + i);
            active += __builtin_popcountll(out.mask[to + i]);
        }
    }
    return active;
}

// ----------------------------------------------------------------------------------------------
// View::Compact: the counts of all steps, added to the last block as far as they fit a byte, then
// to the one before it, and so on

// Moves n counts to those of a block, as far as they fit. `counts` keeps the rest; returns whether
// there is any.
inline bool add_fitting(uint8_t* __restrict counts, uint8_t* __restrict block, int n) {
    uint8_t left = 0;
    for (int i = 0; i < n; ++i) {
        const uint8_t room = uint8_t(MAX_BYTE - block[i]),
                      fits = counts[i] < room ? counts[i] : room;
        block[i] = uint8_t(block[i] + fits);
        counts[i] = uint8_t(counts[i] - fits);
        left |= counts[i];
    }
    return left;
}

// Bit c of the result: whether byte c is not 0. Such a byte carries into its top bit; a product
// puts the top bits side by side.
inline uint64_t active_bytes(uint64_t bytes) {
    constexpr uint64_t TOP = 0x8080808080808080, SIDE_BY_SIDE = 0x0002040810204081;
    return ((((bytes & ~TOP) + ~TOP) | bytes) & TOP) * SIDE_BY_SIDE >> 56;
}

constexpr int COMPACT_PIXELS = 64;

// The pixels from x on, at most COMPACT_PIXELS. There are as many blocks as steps, so that they
// hold the sums of all steps.
inline void compact_pixels(const Spikes& in, const Spikes& out, int y, int x, int pixels) {
    const size_t bytes = pixels * sizeof(uint64_t);
    const auto block_at = [&](int block) { return out.packed + out.word(block, y, x); };
    for (int block = 0; block < out.steps; ++block) memset(block_at(block), 0, bytes);
    for (int step = 0; step < in.steps; ++step) {
        uint8_t counts[COMPACT_PIXELS * sizeof(uint64_t)];
        memcpy(counts, in.packed + in.word(step, y, x), bytes);
        int block = out.steps - 1;
        while (add_fitting(counts, reinterpret_cast<uint8_t*>(block_at(block)), int(bytes)))
            --block;
    }
}

inline int64_t compact(const Spikes& in, const Spikes& out, int y, uint64_t& active_blocks) {
    for (int x = 0; x < in.width; x += COMPACT_PIXELS)
        compact_pixels(in, out, y, x,
                       in.width - x < COMPACT_PIXELS ? in.width - x : COMPACT_PIXELS);
    int64_t active = 0;
    active_blocks = 0;
    for (int block = 0; block < out.steps; ++block) {
        const size_t row = out.word(block, y, 0);
        uint64_t any = 0;
        for (size_t at = row; at < row + out.width; ++at) {
            any |= out.mask[at] = active_bytes(out.packed[at]);
            active += __builtin_popcountll(out.mask[at]);
        }
        if (any) active_blocks |= step_bit(block);
    }
    return active;
}

// ----------------------------------------------------------------------------------------------
// pooling

// The pooling window of an output pixel without the padding, which never wins a maximum and adds
// nothing to a sum.
struct PoolWindow {
    int y0, y1, x0, x1;

    PoolWindow(const PoolRow& row, int x) {
        const int first_column = x * row.stride_x - row.padding_x;
        const auto inside = [](int at, int size) { return at < 0 ? 0 : at < size ? at : size; };
        y0 = inside(row.first_row, row.in->height);
        y1 = inside(row.first_row + row.kernel_y, row.in->height);
        x0 = inside(first_column, row.in->width);
        x1 = inside(first_column + row.kernel_x, row.in->width);
    }

    // Word `word` of the first pixel.
    size_t first(const Spikes& in, int step, int word) const {
        return in.word(step, y0, x0) + word;
    }

    // Calls visit(at) for one word of each pixel; `first` is that word of the first pixel.
    template <class Visit>
    LMHT_INLINE void for_each(const Spikes& in, size_t first, Visit visit) const {
        const size_t next = in.words, below = in.pitch * next;
        if (y1 - y0 == 2 && x1 - x0 == 2) {  // the usual case
            visit(first);
            visit(first + next);
            visit(first + below);
            visit(first + below + next);
            return;
        }
        for (int y = y0; y < y1; ++y, first += below)
            for (size_t at = first; at != first + (x1 - x0) * next; at += next) visit(at);
    }
};

// Any values.
void pool_word(const PoolRow& row, const PoolWindow& window, int step, int x, int word) {
    int32_t result[LANES] = {}, k[LANES];
    bool first = true;
    window.for_each(*row.in, window.first(*row.in, step, word), [&](size_t at) {
        read_values(*row.in, at, k);
        for (int c = 0; c < LANES; ++c)
            result[c] = !row.max ? result[c] + k[c] : first || k[c] > result[c] ? k[c] : result[c];
        first = false;
    });
    write_values(*row.out, row.out->word(step, row.y, x) + word, result);
}

// The maximum of binary spikes is their union.
void pool_union(const PoolRow& row, const PoolWindow& window, int step, int x, int word) {
    uint64_t mask = 0;
    window.for_each(*row.in, window.first(*row.in, step, word),
                    [&](size_t at) { mask |= row.in->mask[at]; });
    row.out->mask[row.out->word(step, row.y, x) + word] = mask;
}

// The sum or the maximum of binary spikes or counts; of a window, whose single steps get their
// masks alone, too. Returns how many sums of a window are not 0.
template <class Words>
LMHT_INLINE int64_t pool_words(const PoolRow& row, const PoolWindow& window, int x, int word) {
    const Spikes in = *row.in, out = *row.out;  // in registers
    const bool max = row.max, summed = row.window;
    const size_t in_step = in.word(1, 0, 0), out_step = out.word(1, 0, 0);
    size_t from = window.first(in, 0, word), to = out.word(0, row.y, x) + word;
    Words result;
    uint64_t any = 0;
    for (int step = 0; step < out.steps; ++step, from += in_step, to += out_step) {
        window.for_each(in, from, [&](size_t at) LMHT_INLINE_LAMBDA {
            max ? result.raise_to(in, at) : result.add(in, at);
        });
        if (summed) {
            any |= out.mask[to] = result.any;
            result.any = 0;
        } else {
            result.put(out, to);
            result = {};
        }
    }
    if (!summed) return 0;
    result.any = any;
    result.put(*row.window, row.window->word(0, row.y, x) + word);
    return __builtin_popcountll(any);
}

template <class Tier>
int64_t pool(const PoolRow& row) {
    const bool binary = row.in->format == Format::Binary,
               counts = (row.window ? row.window : row.out)->format == Format::Counts;
    int64_t active = 0;
    for (int x = 0; x < row.out->width; ++x) {
        const PoolWindow window(row, x);
        for (int word = 0; word < row.out->words; ++word) {
            if (binary && counts)
                active += pool_words<BinaryWords<Tier>>(row, window, x, word);
            else if (row.in->format == Format::Counts && counts)
                active += pool_words<CountWords>(row, window, x, word);
            else
                for (int step = 0; step < row.out->steps; ++step)
                    if (binary && row.max)
                        pool_union(row, window, step, x, word);
                    else
                        pool_word(row, window, step, x, word);
        }
    }
    return active;
}

}  // namespace
}  // namespace lmht
