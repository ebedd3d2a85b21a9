// Primitives of the tiers with AVX-512 (F, BW, DQ, VL, VBMI2, VPOPCNTDQ) and VNNI.
#pragma once
#include "portable.hpp"

namespace lmht {
namespace {

struct Avx512 : Portable {
    static constexpr int dense_max = 255;
    static constexpr int dense_pixels = 6, dense_vectors = 4;
    static constexpr bool has_sums = true;
    static constexpr bool has_narrow_thresholds = true, has_narrow_lanes = true;

    // Adds the dot products of four values (unsigned) with four weights (signed).
    static LMHT_INLINE I32 dot(I32 sum, I32 values, I32 weights) {
        return (I32)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)values, (__m512i)weights);
    }

    static LMHT_INLINE uint64_t fire(Lanes& v, const Lanes& theta) {
        uint64_t spikes = 0;
        LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) {
            const __m512i potential = (__m512i)v.v[n], threshold = (__m512i)theta.v[n];
            const __mmask16 above = _mm512_cmpge_epi32_mask(potential, threshold);
            v.v[n] = (U32)_mm512_mask_sub_epi32(potential, above, potential, threshold);
            spikes |= uint64_t(above) << (n * PER);
        }
        return spikes;
    }

    // 64 lanes of 16 bits, in the order of the channels. Lanes beyond 16 bits are saturated.
    struct NarrowLanes {
        __m512i v[2];

        LMHT_INLINE explicit NarrowLanes(const Lanes& wide) {
            const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
            LMHT_UNROLL for (int h = 0; h < 2; ++h) v[h] = _mm512_permutexvar_epi64(
                order, _mm512_packs_epi32((__m512i)wide.v[2 * h], (__m512i)wide.v[2 * h + 1]));
        }

        // Limits each lane to 0..most.
        LMHT_INLINE void clip(const NarrowLanes& most) {
            LMHT_UNROLL for (int h = 0; h < 2; ++h) v[h] =
                _mm512_min_epi16(_mm512_max_epi16(v[h], _mm512_setzero_si512()), most.v[h]);
        }
    };

    static LMHT_INLINE void add(NarrowLanes& a, const NarrowLanes& b) {
        LMHT_UNROLL for (int h = 0; h < 2; ++h) a.v[h] = _mm512_add_epi16(a.v[h], b.v[h]);
    }

    static LMHT_INLINE uint64_t fire(NarrowLanes& v, const NarrowLanes& theta) {
        uint64_t spikes = 0;
        LMHT_UNROLL for (int h = 0; h < 2; ++h) {
            const __mmask32 above = _mm512_cmpge_epi16_mask(v.v[h], theta.v[h]);
            v.v[h] = _mm512_mask_sub_epi16(v.v[h], above, v.v[h], theta.v[h]);
            spikes |= uint64_t(above) << (32 * h);
        }
        return spikes;
    }

    static LMHT_INLINE int list(uint64_t mask, uint32_t slot, uint32_t* rows) {
        return list(mask, _mm512_set1_epi32(int(slot * LANES)), rows);
    }

    static LMHT_INLINE int list(uint64_t mask, __m512i first, uint32_t* rows) {
        const __m512i channels = compress(mask, _mm512_load_si512(CHANNEL));
        const int n = __builtin_popcountll(mask);
        const auto put = [&](int at, __m128i some) {  // first + 64 * channel
            _mm512_storeu_si512(rows + at, _mm512_dpbusd_epi32(first, _mm512_cvtepu8_epi32(some),
                                                               _mm512_set1_epi8(LANES)));
        };
        put(0, _mm512_castsi512_si128(channels));
        if (__builtin_expect(n > 16, 0)) {
            put(16, _mm512_extracti32x4_epi32(channels, 1));
            if (n > 32) {
                put(32, _mm512_extracti32x4_epi32(channels, 2));
                put(48, _mm512_extracti32x4_epi32(channels, 3));
            }
        }
        return n;
    }

    // The bytes whose bit is set, side by side. The destination is cleared before: the instruction
    // overwrites all of it, yet waits for its old value, and words would be listed one after the
    // other.
    static LMHT_INLINE __m512i compress(uint64_t mask, __m512i bytes) {
        __m512i cleared = _mm512_setzero_si512();
        __asm__("" : "+v"(cleared));
        return _mm512_mask_compress_epi8(cleared, mask, bytes);
    }

    // As in `Portable`.
    template <class Active>
    static LMHT_INLINE uint32_t list_position(const uint64_t* mask, size_t row_pitch,
                                              int kernel_rows, int words, uint32_t slots,
                                              uint32_t slot, uint32_t* rows, Active active) {
        uint32_t n = 0;
        __m512i first = _mm512_set1_epi32(int(slot * LANES));
        const __m512i word = _mm512_set1_epi32(LANES * LANES),
                      gap = _mm512_set1_epi32((int(slots) - words * LANES) * LANES);
        for (int ky = 0; ky < kernel_rows;
             ++ky, mask += row_pitch, first = _mm512_add_epi32(first, gap))
            for (int w = 0; w < words; ++w, first = _mm512_add_epi32(first, word))
                n += list(active(mask + w), first, rows + n);
        return n;
    }

    // Carry-save addition. All bits of a row are added at once; what is carried goes to the next
    // register, of twice the weight, and what is carried there, once in four rows, to 16-bit sums.
    // Four rows take 9 operations, where 16-bit sums of each row would take 12.
    //
    //     ones, a, b ---> sum: one               one, c, d ---> sum: ones           weight 1
    //               `---> carry: two                      `---> carry: other
    //     twos, two, other ---> sum: twos                                           weight 2
    //                     `---> carry: four, added to the 16-bit sums               weight 4
    //
    // Rows that count twice begin at `twos`.
    struct Rows {
        __m512i ones{}, twos{};
        __m512i fours{}, fours_high{};  // of whole words (modulo 2^16), and of their upper bytes

        static LMHT_INLINE __m512i carry(__m512i a, __m512i b, __m512i c) {
            return _mm512_ternarylogic_epi64(a, b, c, 0xe8);
        }
        static LMHT_INLINE __m512i sum(__m512i a, __m512i b, __m512i c) {
            return _mm512_ternarylogic_epi64(a, b, c, 0x96);
        }

        LMHT_INLINE void add_four(__m512i four) {
            fours = _mm512_add_epi16(fours, four);
            fours_high = _mm512_add_epi16(fours_high, _mm512_srli_epi16(four, 8));
        }

        LMHT_INLINE void add_once(__m512i a, __m512i b, __m512i c, __m512i d) {
            const __m512i two = carry(ones, a, b), one = sum(ones, a, b);
            const __m512i other = carry(one, c, d);
            ones = sum(one, c, d);
            const __m512i four = carry(twos, two, other);
            twos = sum(twos, two, other);
            add_four(four);
        }

        LMHT_INLINE void add_twice(__m512i a, __m512i b, __m512i c, __m512i d) {
            const __m512i four = carry(twos, a, b), two = sum(twos, a, b);
            const __m512i other = carry(two, c, d);
            twos = sum(two, c, d);
            add_four(four);
            add_four(other);
        }

        // Four rows at a time, the last one to four of them masked: n > 0 takes only one branch
        // that is hard to predict.
        template <bool TWICE>
        LMHT_INLINE void add(const uint8_t* weights, Part part) {
            const uint32_t *rows = part.rows, *last = rows + ((part.n - 1) & ~3u);
            const auto four = [&](__m512i a, __m512i b, __m512i c, __m512i d) {
                TWICE ? add_twice(a, b, c, d) : add_once(a, b, c, d);
            };
            for (; rows != last; rows += 4)
                four(_mm512_load_si512(weights + rows[0]), _mm512_load_si512(weights + rows[1]),
                     _mm512_load_si512(weights + rows[2]), _mm512_load_si512(weights + rows[3]));
            const __mmask64* mask = TAIL[(part.n - 1) & 3];
            four(_mm512_load_si512(weights + rows[0]),
                 _mm512_maskz_loadu_epi8(mask[1], weights + rows[1]),
                 _mm512_maskz_loadu_epi8(mask[2], weights + rows[2]),
                 _mm512_maskz_loadu_epi8(mask[3], weights + rows[3]));
        }

        // Adds the sums of n rows to `to`. The bias of the weights is taken off first, so that 16
        // bits suffice; then the sums are widened to 32 bits.
        LMHT_INLINE void add_to(Lanes& to, uint32_t n) const {
            const __m512i offset = _mm512_set1_epi16(short(128 * n)), first = _mm512_set1_epi32(1),
                          second = _mm512_set1_epi32(1 << 16);
            const __m512i words = twice_and(twice_and(fours, twos), ones);
            const __m512i upper = twice_and(twice_and(fours_high, _mm512_srli_epi16(twos, 8)),
                                            _mm512_srli_epi16(ones, 8));
            const __m512i odd = _mm512_sub_epi16(upper, offset),
                          even = _mm512_sub_epi16(
                              _mm512_sub_epi16(words, _mm512_slli_epi16(upper, 8)), offset);
            to.v[0] = (U32)_mm512_dpwssd_epi32((__m512i)to.v[0], even, first);
            to.v[1] = (U32)_mm512_dpwssd_epi32((__m512i)to.v[1], even, second);
            to.v[2] = (U32)_mm512_dpwssd_epi32((__m512i)to.v[2], odd, first);
            to.v[3] = (U32)_mm512_dpwssd_epi32((__m512i)to.v[3], odd, second);
        }
    };

    static LMHT_INLINE void add_rows(Lanes& to, const uint8_t* weights, Part part, Prefetcher&) {
        for (; __builtin_expect(part.n > MAX_ROWS, 0); part.n -= MAX_ROWS, part.rows += MAX_ROWS)
            add_some_rows(to, weights, {part.rows, MAX_ROWS});
        add_some_rows(to, weights, part);
    }

    static LMHT_INLINE void add_some_rows(Lanes& to, const uint8_t* weights, Part part) {
        Rows sums;
        sums.add<false>(weights, part);
        sums.add_to(to, part.n);
    }

    static LMHT_INLINE void add_graded(Lanes& to, const uint8_t* weights, Part once, Part twice,
                                       Prefetcher& prefetcher) {
        const uint32_t n = once.n + 2 * twice.n;
        if (__builtin_expect(n > MAX_ROWS, 0))
            return add_both<Avx512>(to, weights, once, twice, prefetcher);
        Rows sums;
        if (once.n) sums.add<false>(weights, once);
        if (twice.n) sums.add<true>(weights, twice);
        sums.add_to(to, n);
    }

    static LMHT_INLINE __m512i twice_and(__m512i a, __m512i b) {
        return _mm512_add_epi16(_mm512_add_epi16(a, a), b);
    }

    static constexpr __mmask64 ALL = ~__mmask64(0);
    static constexpr __mmask64 TAIL[4][4] = {
        {ALL, 0, 0, 0}, {ALL, ALL, 0, 0}, {ALL, ALL, ALL, 0}, {ALL, ALL, ALL, ALL}};

    static LMHT_INLINE uint64_t odd(const uint8_t* count, uint64_t among) {
        return _mm512_mask_test_epi8_mask(among, _mm512_loadu_si512(count), _mm512_set1_epi8(1));
    }

    static LMHT_INLINE uint64_t at_least(const uint8_t* count, int level, uint64_t among) {
        return _mm512_mask_cmpge_epu8_mask(among, _mm512_loadu_si512(count),
                                           _mm512_set1_epi8(char(level)));
    }

    struct Counts {
        __m512i k = _mm512_setzero_si512();
    };

    static LMHT_INLINE void count(Counts& counts, uint64_t mask) {
        counts.k = _mm512_mask_add_epi8(counts.k, mask, counts.k, _mm512_set1_epi8(1));
    }
    static LMHT_INLINE void put(const Counts& counts, uint8_t* to) {
        _mm512_storeu_si512(to, counts.k);
    }

    // Thresholds of whole windows, [n][64] in rising order, as distances from the first one: 16
    // bits hold them. A difference beyond 16 bits is saturated, so that it compares alike. Packing
    // interleaves the channels of both alike, and the words of a dword come back in order.
    struct NarrowThresholds {
        __m512i base[VECTORS];  // minus the first threshold
        __m512i distances[MAX_COMPARISONS][2];
        int n;

        LMHT_INLINE NarrowThresholds(const int32_t* thresholds, int n, const Lanes& base) : n(n) {
            const auto distance = [&](int i, int v) LMHT_INLINE_LAMBDA {
                return _mm512_sub_epi32(_mm512_loadu_si512(thresholds + i * LANES + v * PER),
                                        _mm512_loadu_si512(thresholds + v * PER));
            };
            LMHT_UNROLL for (int v = 0; v < VECTORS; ++v) this->base[v] =
                _mm512_sub_epi32((__m512i)base.v[v], _mm512_loadu_si512(thresholds + v * PER));
            for (int i = 1; i < n; ++i)
                LMHT_UNROLL for (int h = 0; h < 2; ++h) distances[i][h] =
                    _mm512_packs_epi32(distance(i, 2 * h), distance(i, 2 * h + 1));
        }

        // Writes for each channel how many thresholds base + x reaches. Returns the channels that
        // reach one.
        LMHT_INLINE uint64_t count(const Lanes& x, uint8_t* to) const {
            const auto above_first = [&](int v) LMHT_INLINE_LAMBDA {
                return _mm512_add_epi32((__m512i)x.v[v], base[v]);
            };
            const __m512i one = _mm512_set1_epi16(1);
            __m512i above[2], k[2];  // k begins with -1 where the first threshold is not reached
            LMHT_UNROLL for (int h = 0; h < 2; ++h) {
                above[h] = _mm512_packs_epi32(above_first(2 * h), above_first(2 * h + 1));
                k[h] = _mm512_srai_epi16(above[h], 15);
            }
            for (int i = 1; i < n; ++i) LMHT_UNROLL for (int h = 0; h < 2; ++h) {
                    const __mmask32 reached = _mm512_cmpge_epi16_mask(above[h], distances[i][h]);
                    k[h] = _mm512_mask_add_epi16(k[h], reached, k[h], one);
                }
            const __m512i order =
                _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            const __m512i counts =
                _mm512_sub_epi8(_mm512_permutexvar_epi32(order, _mm512_packs_epi16(k[0], k[1])),
                                _mm512_set1_epi8(-1));
            _mm512_storeu_si512(to, counts);
            return _mm512_test_epi8_mask(counts, counts);
        }
    };

    // The sum of part(eight words) over n words; zeros follow the last one.
    template <class Part>
    static LMHT_INLINE int64_t sum_of_words(const uint64_t* words, int n, Part part) {
        __m512i sum = _mm512_setzero_si512();
        for (; n >= 8; n -= 8, words += 8)
            sum = _mm512_add_epi64(sum, part(_mm512_loadu_si512(words)));
        if (n)
            sum = _mm512_add_epi64(sum,
                                   part(_mm512_maskz_loadu_epi64(__mmask8((1 << n) - 1), words)));
        return _mm512_reduce_add_epi64(sum);
    }

    static LMHT_INLINE int64_t popcount(const uint64_t* words, int n) {
        return sum_of_words(
            words, n, [](__m512i some) LMHT_INLINE_LAMBDA { return _mm512_popcnt_epi64(some); });
    }

    static LMHT_INLINE int64_t sum_of_bytes(const uint8_t* bytes, int words) {
        return sum_of_words(reinterpret_cast<const uint64_t*>(bytes), words,
                            [](__m512i some) LMHT_INLINE_LAMBDA {
                                return _mm512_sad_epu8(some, _mm512_setzero_si512());
                            });
    }

    static LMHT_INLINE void add_where(Lanes& sum, uint64_t mask, const int32_t* weight) {
        LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) {
            const __m512i before = (__m512i)sum.v[n];
            sum.v[n] = (U32)_mm512_mask_add_epi32(before, __mmask16(mask >> (n * PER)), before,
                                                  _mm512_loadu_si512(weight + n * PER));
        }
    }

    static LMHT_INLINE void add_products(Lanes& sum, const uint8_t* count, const int32_t* weight) {
        LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) {
            const __m128i* const some = reinterpret_cast<const __m128i*>(count) + n;
            sum.v[n] = (U32)_mm512_dpwssd_epi32((__m512i)sum.v[n],
                                                _mm512_cvtepu8_epi32(_mm_loadu_si128(some)),
                                                _mm512_loadu_si512(weight + n * PER));
        }
    }

    alignas(64) static constexpr uint8_t CHANNEL[64] = {
        0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
        22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
        44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};
};

}  // namespace
}  // namespace lmht
