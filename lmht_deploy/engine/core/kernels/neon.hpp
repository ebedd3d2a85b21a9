// Primitives of the tiers of AArch64.
#pragma once
#include "portable.hpp"

namespace lmht {
namespace {

struct Neon : Portable {
    static constexpr int dense_pixels = 4, dense_vectors = 4;

    // 64 bytes, one per channel.
    struct Bytes {
        uint8x16_t v[4];
    };

    static LMHT_INLINE uint8x16_t bit_of_byte() {
        return vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
    }

    // Bit c of the result is set where byte c is all ones; other bytes are 0.
    static LMHT_INLINE uint64_t mask_of(const Bytes& truth) {
        uint8x16_t bit[4];
        LMHT_UNROLL for (int i = 0; i < 4; ++i) bit[i] = vandq_u8(truth.v[i], bit_of_byte());
        const uint8x16_t four = vpaddq_u8(vpaddq_u8(bit[0], bit[1]), vpaddq_u8(bit[2], bit[3]));
        return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(four, four)), 0);
    }

    // Bytes of ones where a bit is set.
    static LMHT_INLINE Bytes bytes_of(uint64_t mask) {
        const uint8x16_t copies = vreinterpretq_u8_u64(vdupq_n_u64(mask));
        Bytes found;
        LMHT_UNROLL for (int i = 0; i < 4; ++i) {
            const uint8x16_t place =
                vcombine_u8(vdup_n_u8(uint8_t(2 * i)), vdup_n_u8(uint8_t(2 * i + 1)));
            found.v[i] = vtstq_u8(vqtbl1q_u8(copies, place), bit_of_byte());
        }
        return found;
    }

    static LMHT_INLINE uint64_t fire(Lanes& v, const Lanes& theta) {
        Bytes fired;
        LMHT_UNROLL for (int i = 0; i < 4; ++i) {
            uint32x4_t above[4];
            LMHT_UNROLL for (int j = 0; j < 4; ++j) {
                U32& potential = v.v[4 * i + j];
                const U32& threshold = theta.v[4 * i + j];
                above[j] = vcgeq_s32((int32x4_t)potential, (int32x4_t)threshold);
                potential -= threshold & (U32)above[j];
            }
            const auto narrow = [](uint32x4_t a, uint32x4_t b) LMHT_INLINE_LAMBDA {
                return vuzp1q_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b));
            };
            fired.v[i] = vuzp1q_u8(vreinterpretq_u8_u16(narrow(above[0], above[1])),
                                   vreinterpretq_u8_u16(narrow(above[2], above[3])));
        }
        return mask_of(fired);
    }

    static LMHT_INLINE uint64_t odd(const uint8_t* count, uint64_t among) {
        Bytes found;
        LMHT_UNROLL for (int i = 0; i < 4; ++i) found.v[i] =
            vtstq_u8(vld1q_u8(count + 16 * i), vdupq_n_u8(1));
        return among & mask_of(found);
    }

    static LMHT_INLINE uint64_t at_least(const uint8_t* count, int level, uint64_t among) {
        Bytes found;
        LMHT_UNROLL for (int i = 0; i < 4; ++i) found.v[i] =
            vcgeq_u8(vld1q_u8(count + 16 * i), vdupq_n_u8(uint8_t(level)));
        return among & mask_of(found);
    }

    struct Counts {
        Bytes k = {{vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0)}};
    };

    static LMHT_INLINE void count(Counts& counts, uint64_t mask) {
        const Bytes ones = bytes_of(mask);  // bytes of ones are -1
        LMHT_UNROLL for (int i = 0; i < 4; ++i) counts.k.v[i] = vsubq_u8(counts.k.v[i], ones.v[i]);
    }

    static LMHT_INLINE void put(const Counts& counts, uint8_t* to) {
        LMHT_UNROLL for (int i = 0; i < 4; ++i) vst1q_u8(to + 16 * i, counts.k.v[i]);
    }

    static LMHT_INLINE int64_t sum_of_bytes(const uint8_t* bytes, int words) {
        uint64x2_t sums = vdupq_n_u64(0);
        for (; words >= 2; words -= 2, bytes += 16)
            sums = vpadalq_u32(sums, vpaddlq_u16(vpaddlq_u8(vld1q_u8(bytes))));
        return int64_t(vaddvq_u64(sums)) + Portable::sum_of_bytes(bytes, words);
    }

    // As in `Portable`: the loads of a row are one instruction, and the upper bytes are shifted and
    // added by one.
    struct Rows {
        uint16x8_t words[PARTS], high[PARTS];

        LMHT_INLINE Rows() {
            LMHT_UNROLL for (int i = 0; i < PARTS; ++i) words[i] = high[i] = vdupq_n_u16(0);
        }

        LMHT_INLINE void add_row(const uint8_t* weights) {
            const uint8x16x4_t row = vld1q_u8_x4(weights);
            LMHT_UNROLL for (int i = 0; i < PARTS; ++i) {
                const uint16x8_t two = vreinterpretq_u16_u8(row.val[i]);
                words[i] = vaddq_u16(words[i], two);
                high[i] = vsraq_n_u16(high[i], two, 8);
            }
        }

        LMHT_INLINE void add(const uint8_t* weights, Part part, Prefetcher&) {
            _Pragma("GCC unroll 4") for (uint32_t n = 0; n < part.n; ++n)
                add_row(weights + part.rows[n]);
        }

        LMHT_INLINE void twice() {
            LMHT_UNROLL for (int i = 0; i < PARTS; ++i) {
                words[i] = vaddq_u16(words[i], words[i]);
                high[i] = vaddq_u16(high[i], high[i]);
            }
        }

        // Without the bias of the weights, 16 bits hold the sums of 256 rows.
        LMHT_INLINE void add_to(Lanes& sum, uint32_t n) const {
            const uint16x8_t bias = vdupq_n_u16(uint16_t(128 * n));
            LMHT_UNROLL for (int i = 0; i < PARTS; ++i) {
                const uint16x8_t low = vsubq_u16(words[i], vshlq_n_u16(high[i], 8));
                add_words(sum.v[i], sum.v[4 + i], vsubq_u16(low, bias));
                add_words(sum.v[8 + i], sum.v[12 + i], vsubq_u16(high[i], bias));
            }
        }

        // Adds the even words to one vector and the odd words to the other, with their signs.
        static LMHT_INLINE void add_words(U32& even, U32& odd, uint16x8_t words) {
            const int32x4_t both = vreinterpretq_s32_u16(words);
            even = (U32)vsraq_n_s32((int32x4_t)even, vshlq_n_s32(both, 16), 16);
            odd = (U32)vsraq_n_s32((int32x4_t)odd, both, 16);
        }
    };

    static LMHT_INLINE void add_rows(Lanes& sum, const uint8_t* weights, Part part,
                                     Prefetcher& prefetcher) {
        add_all_rows<Rows>(sum, weights, part, prefetcher);
    }

    static LMHT_INLINE void add_graded(Lanes& sum, const uint8_t* weights, Part once, Part twice,
                                       Prefetcher& prefetcher) {
        add_graded_rows<Neon>(sum, weights, once, twice, prefetcher);
    }

    static LMHT_INLINE void add_where(Lanes& sum, uint64_t mask, const int32_t* weight) {
        LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) {
            const int32x4_t bit = {1 << (n * PER % 32), 2 << (n * PER % 32), 4 << (n * PER % 32),
                                   int32_t(8u << (n * PER % 32))};
            const uint32x4_t some =
                vtstq_s32(vdupq_n_s32(int32_t(mask >> (n * PER / 32 * 32))), bit);
            sum.v[n] += (U32)some & (U32)vld1q_s32(weight + n * PER);
        }
    }

    static LMHT_INLINE void add_products(Lanes& sum, const uint8_t* count, const int32_t* weight) {
        LMHT_UNROLL for (int i = 0; i < 4; ++i) {
            const uint8x16_t k = vld1q_u8(count + 16 * i);
            const uint16x8_t wide[2] = {vmovl_u8(vget_low_u8(k)), vmovl_high_u8(k)};
            LMHT_UNROLL for (int j = 0; j < 4; ++j) {
                const uint32x4_t four =
                    j % 2 ? vmovl_high_u16(wide[j / 2]) : vmovl_u16(vget_low_u16(wide[j / 2]));
                const uint32x4_t w = vreinterpretq_u32_s32(vld1q_s32(weight + 16 * i + 4 * j));
                U32& to = sum.v[4 * i + j];
                to = (U32)vmlaq_u32((uint32x4_t)to, four, w);
            }
        }
    }
};

// Path::Dense of the tiers with dot products, four quads at a time. A vector holds the values of
// four quads of a pixel, and Tier::dot_lane<LANE> takes those of one.
template <class Tier>
struct NeonDots : Neon {
    static constexpr Costs costs = {.binary_row = 5,
                                    .graded_row = 5,
                                    .weighted_row = 30,
                                    .large_slice_factor = 1.35f,
                                    .dense_slot = 2.4f,
                                    .dense_pixel = 30,
                                    .dense_word = 15,
                                    .list_pixel = 30,
                                    .graded_pixel = 60,
                                    .list_word = 20,
                                    .extra_list_pixel = 50};

    static constexpr bool has_add_quads = true;

    template <int P, int V>
    static LMHT_INLINE void add_quads(I32 (&sum)[P][V], const uint8_t* values, ptrdiff_t pitch,
                                      const int8_t* weights, int quads) {
        uint8x16_t k[P];
        for (; quads >= 4; quads -= 4, values += 4 * QUAD, weights += 4 * QUAD * LANES) {
            LMHT_UNROLL for (int p = 0; p < P; ++p) k[p] = vld1q_u8(values + p * pitch);
            add_quad<0>(sum, k, weights);
            add_quad<1>(sum, k, weights + QUAD * LANES);
            add_quad<2>(sum, k, weights + 2 * QUAD * LANES);
            add_quad<3>(sum, k, weights + 3 * QUAD * LANES);
        }
        for (; quads > 0; --quads, values += QUAD, weights += QUAD * LANES) {
            LMHT_UNROLL for (int p = 0; p < P; ++p) k[p] = quad_of(values + p * pitch);
            add_quad<0>(sum, k, weights);
        }
    }

    static LMHT_INLINE uint8x16_t quad_of(const uint8_t* values) {
        uint32_t four;
        memcpy(&four, values, QUAD);
        return vreinterpretq_u8_u32(vdupq_n_u32(four));
    }

    template <int LANE, int P, int V>
    static LMHT_INLINE void add_quad(I32 (&sum)[P][V], const uint8x16_t (&k)[P],
                                     const int8_t* weights) {
        static_assert(V == 4);
        const int8x16x4_t w = vld1q_s8_x4(weights);
        LMHT_UNROLL for (int v = 0; v < V; ++v) LMHT_UNROLL for (int p = 0; p < P; ++p) sum[p][v] =
            Tier::template dot_lane<LANE>(sum[p][v], w.val[v], k[p]);
        __asm__ volatile("" ::: "memory");  // loads in advance would need more registers
    }
};

}  // namespace
}  // namespace lmht
