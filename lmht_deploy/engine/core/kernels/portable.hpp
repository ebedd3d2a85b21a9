// The primitives of a tier in plain C++ and vector extensions; tiers replace what their
// instructions do better.
#pragma once
#include "prefetcher.hpp"

namespace lmht {
namespace {

constexpr uint32_t MAX_ROWS = 256;  // of unsigned bytes, whose sum fits 16 bits

// A part of a list: the byte offsets of n rows of weights.
struct Part {
    const uint32_t* rows;
    uint32_t n;
};

alignas(64) constexpr uint8_t NO_ROW[LANES] = {};

struct Portable {
    static constexpr int dense_max = 0;           // no dense path
    static constexpr int dot_slots = QUAD;        // 8 for weights in QuadOrder::Pairs
    static constexpr bool has_add_quads = false;  // whether `add_quads` replaces loops over `dot`

    static constexpr bool narrow_dots = false;  // whether `dot` has 16-bit sums, which `widen` adds
    static constexpr bool has_sums = false;     // whether products of tiles give sums of rows
    static constexpr bool has_narrow_thresholds = false;  // whether there are `NarrowThresholds`
    static constexpr bool has_narrow_lanes = false;       // whether there are `NarrowLanes`

    // Fires where v >= theta and subtracts theta there; bit c for channel c.
    static LMHT_INLINE uint64_t fire(Lanes& v, const Lanes& theta) {
        uint64_t spikes = 0;
        LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) {
            const I32 above = (I32)v.v[n] >= (I32)theta.v[n];
            v.v[n] -= theta.v[n] & (U32)above;
            spikes |= uint64_t(bits(above)) << (n * PER);
        }
        return spikes;
    }

    // Bit i for lane i of a comparison's result.
    static LMHT_INLINE uint32_t bits(const I32& truth) {
#if VECTOR_BYTES == 32 && defined(__AVX2__)
        return uint32_t(_mm256_movemask_ps((__m256)truth));
#elif VECTOR_BYTES == 16 && defined(__x86_64__)
        return uint32_t(_mm_movemask_ps((__m128)truth));
#elif defined(__wasm_simd128__)
        return wasm_i32x4_bitmask((v128_t)truth);
#else
        uint32_t found = 0;
        for (int i = 0; i < PER; ++i) found |= uint32_t(truth[i] & 1) << i;
        return found;
#endif
    }

    // Byte offsets of the weight rows of the active channels: (slot + bit) * 64 each. Returns how
    // many.
    static LMHT_INLINE int list(uint64_t mask, uint32_t slot, uint32_t* rows) {
        int n = 0;
        for (; mask; mask &= mask - 1) rows[n++] = (slot + uint32_t(__builtin_ctzll(mask))) * LANES;
        return n;
    }

    // The entries of all words of `kernel_rows` consecutive rows of the kernel at one position,
    // whose slots are `slots` apart; active(mask) reads a word. Returns how many.
    template <class Active>
    static LMHT_INLINE uint32_t list_position(const uint64_t* mask, size_t row_pitch,
                                              int kernel_rows, int words, uint32_t slots,
                                              uint32_t slot, uint32_t* rows, Active active) {
        return list_words<Portable>(mask, row_pitch, kernel_rows, words, slots, slot, rows, active);
    }

    template <class Tier, class Active>
    static LMHT_INLINE uint32_t list_words(const uint64_t* mask, size_t row_pitch, int kernel_rows,
                                           int words, uint32_t slots, uint32_t slot, uint32_t* rows,
                                           Active active) {
        uint32_t n = 0;
        for (int ky = 0; ky < kernel_rows; ++ky, mask += row_pitch, slot += slots)
            for (int w = 0; w < words; ++w)
                n += Tier::list(active(mask + w), slot + uint32_t(w) * LANES, rows + n);
        return n;
    }

    // Bit c where count[c] is odd.
    static LMHT_INLINE uint64_t odd(const uint8_t* count, uint64_t among) {
        uint64_t found = 0;
        for (; among; among &= among - 1) {
            const int c = __builtin_ctzll(among);
            found |= uint64_t(count[c] & 1) << c;
        }
        return found;
    }

    // Bit c where count[c] >= level, a byte.
    static LMHT_INLINE uint64_t at_least(const uint8_t* count, int level, uint64_t among) {
        uint64_t found = 0;
        for (; among; among &= among - 1) {
            const int c = __builtin_ctzll(among);
            found |= uint64_t(count[c] >= level) << c;
        }
        return found;
    }

    // Counts of 64 channels: `count` adds one where bit c is set, `put` stores them.
    struct Counts {
        uint8_t k[LANES] = {};
    };

    static LMHT_INLINE void count(Counts& counts, uint64_t mask) {
        for (int c = 0; c < LANES; ++c) counts.k[c] = uint8_t(counts.k[c] + (mask >> c & 1));
    }

    static LMHT_INLINE void put(const Counts& counts, uint8_t* to) { memcpy(to, counts.k, LANES); }

    // Writes for each channel how many of its n thresholds, [n][64] in rising order, x reaches.
    // Returns the channels that reach one.
    template <class Tier>
    static LMHT_INLINE uint64_t count_reached(const Lanes& x, const int32_t* thresholds, int n,
                                              uint8_t* count) {
        typename Tier::Counts counts;
        uint64_t any = 0;
        for (; n > 0; --n, thresholds += LANES) {
            Lanes v = x;
            const uint64_t reached = Tier::fire(v, load(thresholds));
            Tier::count(counts, reached);
            any |= reached;
        }
        Tier::put(counts, count);
        return any;
    }

    static LMHT_INLINE int64_t popcount(const uint64_t* words, int n) {
        int64_t sum = 0;
        for (int i = 0; i < n; ++i) sum += __builtin_popcountll(words[i]);
        return sum;
    }

    // The sum of the eight bytes of each word: 16-bit sums of neighbors, whose sum is the top of a
    // product.
    //
    //     bytes      | b7 b6 | b5 b4 | b3 b2 | b1 b0 |
    //     pairs      | b7+b6 | b5+b4 | b3+b2 | b1+b0 |   * 0x0001000100010001, >> 48
    static LMHT_INLINE int64_t sum_of_bytes(const uint8_t* bytes, int words) {
        constexpr uint64_t EVEN = 0x00ff00ff00ff00ff, ONES = 0x0001000100010001;
        int64_t sum = 0;
        for (int i = 0; i < words; ++i) {
            uint64_t word;
            memcpy(&word, bytes + 8 * i, sizeof word);
            sum += int64_t(((word & EVEN) + (word >> 8 & EVEN)) * ONES >> 48);
        }
        return sum;
    }

    // Adds weight[c] to lane c where bit c is set.
    static LMHT_INLINE void add_where(Lanes& sum, uint64_t mask, const int32_t* weight) {
        const Lanes w = load(weight);
        U32 bit;
        for (int i = 0; i < PER; ++i) bit[i] = 1u << i;
        LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) sum.v[n] +=
            w.v[n] & (U32)(((U32{} + uint32_t(mask >> (n * PER))) & bit) != 0);
    }

    static LMHT_INLINE void add_products(Lanes& sum, const uint8_t* count, const int32_t* weight) {
        uint32_t product[LANES];
        for (int c = 0; c < LANES; ++c) product[c] = uint32_t(count[c]) * uint32_t(weight[c]);
        add(sum, load(reinterpret_cast<const int32_t*>(product)));
    }

    // Sums of at most MAX_ROWS rows of weights. Each row is added to 16-bit sums of whole words
    // (modulo 2^16) and of their upper bytes; the sums of the lower bytes follow at the end. This
    // takes fewer operations than widening every row would:
    //
    //     row              | upper 0 : lower 0 | upper 1 : lower 1 | ...    16-bit words
    //     words += row     | 256 * sum of uppers + sum of lowers   |
    //     high += row >> 8 | sum of uppers     |
    //     lowers           = words - (high << 8)
    struct Rows {
        U16 words[PARTS] = {}, high[PARTS] = {};

        LMHT_INLINE void add_row(const uint8_t* at) {
            LMHT_UNROLL for (int part = 0; part < PARTS; ++part) {
                const U16 row = reinterpret_cast<const AnyU16*>(at)[part];
                words[part] += row;
                high[part] += row >> 8;
            }
        }

        // Four rows at a time. In the last four, those beyond the list are rows of zeros: n > 0
        // takes only one branch that is hard to predict. What is due is fetched meanwhile.
        LMHT_INLINE void add(const uint8_t* weights, Part part, Prefetcher& prefetcher) {
            const uint32_t *rows = part.rows, *last = rows + ((part.n - 1) & ~3u);
            const auto add_four = [&]() LMHT_INLINE_LAMBDA {
                LMHT_UNROLL for (int i = 0; i < 4; ++i) add_row(weights + rows[i]);
                rows += 4;
            };
            if (prefetcher.is_due()) {
                Prefetcher fetching = prefetcher;  // in registers
                for (; rows != last && fetching.is_due(); fetching.fetch_line()) add_four();
                prefetcher = fetching;
            }
            while (rows != last) add_four();
            const uintptr_t none = reinterpret_cast<uintptr_t>(NO_ROW),
                            first = reinterpret_cast<uintptr_t>(weights);
            LMHT_UNROLL for (uint32_t i = 0; i < 4; ++i) {
                const uintptr_t among = -uintptr_t(i <= ((part.n - 1) & 3));
                add_row(
                    reinterpret_cast<const uint8_t*>(none + ((first + rows[i] - none) & among)));
            }
        }

        LMHT_INLINE void twice() {
            LMHT_UNROLL for (int part = 0; part < PARTS; ++part) words[part] += words[part],
                high[part] += high[part];
        }

        // Adds the sums of n rows to `to`, without the bias of the weights.
        LMHT_INLINE void add_to(Lanes& to, uint32_t n) const {
            LMHT_UNROLL for (int part = 0; part < PARTS; ++part) {
                const U32 low = (U32)(U16)(words[part] - (high[part] << 8)),
                          upper = (U32)high[part];
                to.v[part] += low & 0xffff;
                to.v[16 / PER + part] += low >> 16;
                to.v[32 / PER + part] += upper & 0xffff;
                to.v[48 / PER + part] += upper >> 16;
            }
            lmht::add(to, splat(0u - 128u * n));
        }
    };

    // `prefetcher`: what is due may be fetched meanwhile.
    static LMHT_INLINE void add_rows(Lanes& sum, const uint8_t* weights, Part part,
                                     Prefetcher& prefetcher) {
        add_all_rows<Rows>(sum, weights, part, prefetcher);
    }

    template <class Rows>
    static LMHT_INLINE void add_all_rows(Lanes& sum, const uint8_t* weights, Part part,
                                         Prefetcher& prefetcher) {
        for (; __builtin_expect(part.n > MAX_ROWS, 0); part.n -= MAX_ROWS, part.rows += MAX_ROWS)
            add_some_rows<Rows>(sum, weights, {part.rows, MAX_ROWS}, prefetcher);
        add_some_rows<Rows>(sum, weights, part, prefetcher);
    }

    template <class Rows>
    static LMHT_INLINE void add_some_rows(Lanes& sum, const uint8_t* weights, Part part,
                                          Prefetcher& prefetcher) {
        Rows rows;
        rows.add(weights, part, prefetcher);
        rows.add_to(sum, part.n);
    }

    // Adds the rows of `once`, and those of `twice` two times.
    static LMHT_INLINE void add_graded(Lanes& sum, const uint8_t* weights, Part once, Part twice,
                                       Prefetcher& prefetcher) {
        add_graded_rows<Portable>(sum, weights, once, twice, prefetcher);
    }

    template <class Tier>
    static LMHT_INLINE void add_graded_rows(Lanes& sum, const uint8_t* weights, Part once,
                                            Part twice, Prefetcher& prefetcher) {
        const uint32_t n = once.n + 2 * twice.n;
        if (__builtin_expect(n > MAX_ROWS, 0))
            return add_both<Tier>(sum, weights, once, twice, prefetcher);
        typename Tier::Rows rows;
        if (twice.n) rows.add(weights, twice, prefetcher);
        rows.twice();
        if (once.n) rows.add(weights, once, prefetcher);
        rows.add_to(sum, n);
    }

    template <class Tier>
    static LMHT_INLINE void add_both(Lanes& sum, const uint8_t* weights, Part once, Part twice,
                                     Prefetcher& prefetcher) {
        Lanes doubled = splat(0);
        if (twice.n) Tier::add_rows(doubled, weights, twice, prefetcher);
        shift_left(doubled, 1);
        add(sum, doubled);
        if (once.n) Tier::add_rows(sum, weights, once, prefetcher);
    }

    // The lowest byte of each lane.
    static LMHT_INLINE void narrow(const Lanes& k, uint8_t* to) {
        int32_t lanes[LANES];
        store(k, lanes);
        for (int c = 0; c < LANES; ++c) to[c] = uint8_t(lanes[c]);
    }

    // v * leak / LEAK_ONE, toward zero. With |v| = high * LEAK_ONE + low, no product needs more
    // than 32 bits, and only that of `low` has a fraction.
    static LMHT_INLINE void scale(Lanes& v, int leak) {
        const U32 factor = U32{} + uint32_t(leak);
        LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) {
            const U32 sign = (U32)((I32)v.v[n] < 0), magnitude = (v.v[n] ^ sign) - sign,
                      high = magnitude >> LEAK_BITS, low = magnitude & (LEAK_ONE - 1),
                      scaled = high * factor + (low * factor >> LEAK_BITS);
            v.v[n] = (scaled ^ sign) - sign;
        }
    }
};

}  // namespace
}  // namespace lmht
