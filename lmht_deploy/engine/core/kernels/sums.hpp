// Sums of steps, and pooling.
#pragma once
#include "values.hpp"

namespace lmht {
namespace {

// ----------------------------------------------------------------------------------------------
// sums of steps

// Word `to` of `out`: the sum of word `at` of `in` and of the same word in the next span - 1 steps.
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
    } else if (in.format == Format::Counts && out.format == Format::Counts) {
        uint8_t sum[LANES] = {};  // no byte overflows: `out` has the format of sums that fit
        for (int s = 0; s < span; ++s, at += step_words) {
            any |= in.mask[at];
            for (int c = 0; c < LANES; ++c) sum[c] = uint8_t(sum[c] + in.count[at * LANES + c]);
        }
        out.mask[to] = any;
        memcpy(out.count + to * LANES, sum, LANES);
    } else if (in.format == Format::Packed && out.format == Format::Packed) {
        uint64_t counts = 0;  // no byte overflows here, either
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
int64_t sum_steps(const Spikes& in, const Spikes& out, int y) {
    const int span = in.steps / out.steps, words = in.width * in.words;
    int64_t active = 0;
    for (int block = 0; block < out.steps; ++block)
        for (int i = 0; i < words; ++i) {
            const size_t to = out.word(block, y, 0) + i;
            sum_words<Tier>(in, in.word(block * span, y, 0) + i, span, out, to);
            active += __builtin_popcountll(out.mask[to]);
        }
    return active;
}

// ----------------------------------------------------------------------------------------------
// pooling

// Calls visit(at) for every pixel of the pooling window of output pixel x, with its word `word`;
// not for the padding, which never wins a maximum and adds nothing to a sum.
template <class Visit>
LMHT_INLINE void for_each_pooled(const PoolRow& row, int step, int x, int word, Visit visit) {
    const Spikes& in = *row.in;
    const int first_column = x * row.stride_x - row.padding_x;
    const int y0 = row.first_row > 0 ? row.first_row : 0, x0 = first_column > 0 ? first_column : 0;
    const int y1 = row.first_row + row.kernel_y, x1 = first_column + row.kernel_x;
    for (int iy = y0; iy < y1 && iy < in.height; ++iy) {
        size_t at = in.word(step, iy, x0) + word;
        for (int ix = x0; ix < x1 && ix < in.width; ++ix, at += in.words) visit(at);
    }
}

// Any values.
void pool_word(const PoolRow& row, int step, int x, int word) {
    int32_t result[LANES] = {}, k[LANES];
    bool first = true;
    for_each_pooled(row, step, x, word, [&](size_t at) {
        read_values(*row.in, at, k);
        for (int c = 0; c < LANES; ++c)
            result[c] = !row.max ? result[c] + k[c] : first || k[c] > result[c] ? k[c] : result[c];
        first = false;
    });
    write_values(*row.out, row.out->word(step, row.y, x) + word, result);
}

// The maximum of binary spikes is their union.
void pool_union(const PoolRow& row, int step, int x, int word) {
    uint64_t mask = 0;
    for_each_pooled(row, step, x, word, [&](size_t at) { mask |= row.in->mask[at]; });
    row.out->mask[row.out->word(step, row.y, x) + word] = mask;
}

// The sum of at most 255 binary spikes is counted byte by byte.
template <class Tier>
void pool_count(const PoolRow& row, int step, int x, int word) {
    const size_t to = row.out->word(step, row.y, x) + word;
    typename Tier::Counts counts;
    uint64_t any = 0;
    for_each_pooled(row, step, x, word, [&](size_t at) {
        const uint64_t mask = row.in->mask[at];
        any |= mask;
        Tier::count(counts, mask);
    });
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

}  // namespace
}  // namespace lmht
