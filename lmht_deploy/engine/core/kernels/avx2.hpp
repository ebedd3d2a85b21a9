// Primitives of the tiers with AVX2.
#pragma once
#include "portable.hpp"

namespace lmht {
namespace {

// For every byte, 64 times the places of its bits: byte offsets of weight rows.
struct BitRows {
    alignas(16) uint16_t of[256][8];

    constexpr BitRows() : of() {
        for (int byte = 0; byte < 256; ++byte)
            for (int bit = 0, n = 0; bit < 8; ++bit)
                if (byte >> bit & 1) of[byte][n++] = uint16_t(bit * LANES);
    }
};
constexpr BitRows BIT_ROWS;

struct Avx2 : Portable {
    static constexpr int dense_max = 255;
    static constexpr int dense_pixels = 6, dense_vectors = 2;
    static constexpr bool narrow_dots = true;
    static constexpr bool has_narrow_thresholds = true, has_narrow_lanes = true;

    // Adds the products of four values (unsigned) with four weights (signed), two and two.
    static LMHT_INLINE I32 dot(I32 sum, I32 values, I32 weights) {
        sum = (I32)_mm256_add_epi16((__m256i)sum,
                                    _mm256_maddubs_epi16((__m256i)values, (__m256i)weights));
        __asm__ volatile("" : "+x"(sum));  // one after another: all at once need more registers
        return sum;
    }

    static LMHT_INLINE I32 widen(I32 sum, int factor = 1) {
        return (I32)_mm256_madd_epi16((__m256i)sum, _mm256_set1_epi16(int16_t(factor)));
    }

    // The same with sums of 32 bits, of any values: 2 * (value / 2) + value % 2.
    static LMHT_INLINE I32 wide_dot(I32 sum, I32 values, I32 weights) {
        const I32 halves = values >> 1 & 0x7f7f7f7f, odd = values & 0x01010101;
        return sum + widen(dot(I32{}, halves, weights), 2) + widen(dot(I32{}, odd, weights));
    }

    // 32 lanes of 32 bits as bytes, in order:
    //
    //     packs of 32 bits to 16       | a 0..3  b 0..3 | a 4..7  b 4..7 |
    //     packs of 16 bits to 8        | a 0..3  b 0..3  c 0..3  d 0..3 | a 4..7 ... d 4..7 |
    //     permuted                     | a 0..7  b 0..7 | c 0..7  d 0..7 |
    template <class Lane>
    static LMHT_INLINE __m256i narrow(int n, Lane lane) {
        const __m256i ab = _mm256_packs_epi32(lane(n), lane(n + 1)),
                      cd = _mm256_packs_epi32(lane(n + 2), lane(n + 3));
        return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(ab, cd),
                                           _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    }

    // As in `Portable`.
    static LMHT_INLINE uint64_t fire(Lanes& v, const Lanes& theta) {
        const auto below = [&](int n) LMHT_INLINE_LAMBDA {
            const __m256i found = _mm256_cmpgt_epi32((__m256i)theta.v[n], (__m256i)v.v[n]);
            v.v[n] -= (U32)_mm256_andnot_si256(found, (__m256i)theta.v[n]);
            return found;
        };
        const __m256i lower = narrow(0, below), upper = narrow(4, below);
        return ~high_bits(lower, upper);
    }

    // 64 lanes of 16 bits, in the order of the channels. Lanes beyond 16 bits are saturated.
    struct NarrowLanes {
        __m256i v[4];

        LMHT_INLINE explicit NarrowLanes(const Lanes& wide) {
            LMHT_UNROLL for (int h = 0; h < 4; ++h) v[h] =
                in_order(_mm256_packs_epi32((__m256i)wide.v[2 * h], (__m256i)wide.v[2 * h + 1]));
        }

        // Limits each lane to 0..most.
        LMHT_INLINE void clip(const NarrowLanes& most) {
            LMHT_UNROLL for (int h = 0; h < 4; ++h) v[h] =
                _mm256_min_epi16(_mm256_max_epi16(v[h], _mm256_setzero_si256()), most.v[h]);
        }

        // Puts the parts of 64 bits in order, which a pack of two vectors interleaves.
        static LMHT_INLINE __m256i in_order(__m256i packed) {
            return _mm256_permute4x64_epi64(packed, _MM_SHUFFLE(3, 1, 2, 0));
        }
    };

    static LMHT_INLINE void add(NarrowLanes& a, const NarrowLanes& b) {
        LMHT_UNROLL for (int h = 0; h < 4; ++h) a.v[h] = _mm256_add_epi16(a.v[h], b.v[h]);
    }

    static LMHT_INLINE uint64_t fire(NarrowLanes& v, const NarrowLanes& theta) {
        const auto below = [&](int h) LMHT_INLINE_LAMBDA {
            const __m256i found = _mm256_cmpgt_epi16(theta.v[h], v.v[h]);
            v.v[h] = _mm256_sub_epi16(v.v[h], _mm256_andnot_si256(found, theta.v[h]));
            return found;
        };
        const auto bytes = [&](int h) LMHT_INLINE_LAMBDA {
            const __m256i first = below(h), second = below(h + 1);
            return NarrowLanes::in_order(_mm256_packs_epi16(first, second));
        };
        const __m256i lower = bytes(0), upper = bytes(2);
        return ~high_bits(lower, upper);
    }

    // Counts 0..255: packed as the bytes of `fire` are.
    static LMHT_INLINE void narrow(const Lanes& k, uint8_t* to) {
        LMHT_UNROLL for (int n = 0; n < VECTORS; n += 4) {
            const __m256i ab = _mm256_packs_epi32((__m256i)k.v[n], (__m256i)k.v[n + 1]),
                          cd = _mm256_packs_epi32((__m256i)k.v[n + 2], (__m256i)k.v[n + 3]);
            _mm256_storeu_si256(
                reinterpret_cast<__m256i*>(to + n * PER),
                _mm256_permutevar8x32_epi32(_mm256_packus_epi16(ab, cd),
                                            _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
        }
    }

    // Thresholds of whole windows, [n][64] in rising order, as distances from the first one: 16
    // bits hold them. A difference beyond 16 bits is saturated, so that it compares alike. Packing
    // interleaves the channels of both alike.
    struct NarrowThresholds {
        __m256i base[VECTORS];  // minus the first threshold
        __m256i distances[MAX_COMPARISONS][VECTORS / 2];
        int n;

        LMHT_INLINE NarrowThresholds(const int32_t* thresholds, int n, const Lanes& base) : n(n) {
            const Lanes first = load(thresholds);
            LMHT_UNROLL for (int v = 0; v < VECTORS; ++v) this->base[v] =
                (__m256i)(base.v[v] - first.v[v]);
            for (int i = 1; i < n; ++i) {
                const Lanes other = load(thresholds + i * LANES);
                LMHT_UNROLL for (int h = 0; h < VECTORS; h += 2) distances[i][h / 2] =
                    _mm256_packs_epi32((__m256i)(other.v[h] - first.v[h]),
                                       (__m256i)(other.v[h + 1] - first.v[h + 1]));
            }
        }

        // Writes for each channel how many thresholds base + x reaches. Returns the channels that
        // reach one.
        LMHT_INLINE uint64_t count(const Lanes& x, uint8_t* to) const {
            uint64_t any = 0;
            LMHT_UNROLL for (int half = 0; half < 2; ++half) {
                const int h = 2 * half;
                const __m256i missed = _mm256_packs_epi16(missed_of(x, h), missed_of(x, h + 1));
                const __m256i counts = _mm256_add_epi8(
                    _mm256_permutevar8x32_epi32(missed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)),
                    _mm256_set1_epi8(char(n)));
                _mm256_storeu_si256(reinterpret_cast<__m256i*>(to) + half, counts);
                const __m256i reached = _mm256_cmpgt_epi8(counts, _mm256_setzero_si256());
                any |= uint64_t(uint32_t(_mm256_movemask_epi8(reached))) << (32 * half);
            }
            return any;
        }

        // Minus the number of thresholds that are not reached.
        LMHT_INLINE __m256i missed_of(const Lanes& x, int h) const {
            const auto above_first = [&](int v) LMHT_INLINE_LAMBDA {
                return _mm256_add_epi32((__m256i)x.v[v], base[v]);
            };
            const __m256i above = _mm256_packs_epi32(above_first(2 * h), above_first(2 * h + 1));
            __m256i missed = _mm256_srai_epi16(above, 15);
            for (int i = 1; i < n; ++i)
                missed = _mm256_add_epi16(missed, _mm256_cmpgt_epi16(distances[i][h], above));
            return missed;
        }
    };

    static LMHT_INLINE void add_products(Lanes& sum, const uint8_t* count, const int32_t* weight) {
        LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) {
            const __m128i* const some = reinterpret_cast<const __m128i*>(count + n * PER);
            sum.v[n] += (U32)_mm256_madd_epi16(_mm256_cvtepu8_epi32(_mm_loadl_epi64(some)),
                                               (__m256i)load(weight).v[n]);
        }
    }

    // Up to FEW spikes are listed one by one, always in FEW steps, and more are listed byte by
    // byte: nobody could predict the end of a loop over the spikes.
    static constexpr int FEW = 6;
    static LMHT_INLINE int list(uint64_t mask, uint32_t slot, uint32_t* rows) {
        const int spikes = __builtin_popcountll(mask);
        if (spikes <= FEW) {
            LMHT_UNROLL for (int i = 0; i < FEW; ++i, mask &= mask - 1) rows[i] =
                (slot + uint32_t(_tzcnt_u64(mask))) * LANES;
            return spikes;
        }
        __m256i first = _mm256_set1_epi32(int(slot * LANES));
        const __m256i byte_rows = _mm256_set1_epi32(8 * LANES);
        int n = 0;
        LMHT_UNROLL for (int i = 0; i < 8; ++i, mask >>= 8) {
            const __m128i* const bits = reinterpret_cast<const __m128i*>(BIT_ROWS.of[mask & 255]);
            _mm256_storeu_si256(
                reinterpret_cast<__m256i*>(rows + n),
                _mm256_add_epi32(first, _mm256_cvtepu16_epi32(_mm_load_si128(bits))));
            first = _mm256_add_epi32(first, byte_rows);
            n += __builtin_popcount(uint32_t(mask & 255));
        }
        return n;
    }

    template <class Active>
    static LMHT_INLINE uint32_t list_position(const uint64_t* mask, size_t row_pitch,
                                              int kernel_rows, int words, uint32_t slots,
                                              uint32_t slot, uint32_t* rows, Active active) {
        return list_words<Avx2>(mask, row_pitch, kernel_rows, words, slots, slot, rows, active);
    }

    static LMHT_INLINE __m256i half(const uint8_t* count, int i) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(count) + i);
    }

    // Bit c of the result is the highest bit of byte c.
    static LMHT_INLINE uint64_t high_bits(__m256i lower, __m256i upper) {
        return uint64_t(uint32_t(_mm256_movemask_epi8(upper))) << 32 |
               uint32_t(_mm256_movemask_epi8(lower));
    }

    // Bytes of ones where a bit is set. Each byte of the mask is copied to the eight places of its
    // bits, which are then tested one by one.
    static LMHT_INLINE __m256i bytes_of(uint32_t mask) {
        const __m256i place = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202,
                                                 0x0303030303030303),
                      bit = _mm256_set1_epi64x(int64_t(0x8040201008040201));
        const __m256i copies = _mm256_shuffle_epi8(_mm256_set1_epi32(int(mask)), place);
        return _mm256_cmpeq_epi8(_mm256_and_si256(copies, bit), bit);
    }

    struct Counts {
        __m256i k[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    };

    static LMHT_INLINE void count(Counts& counts, uint64_t mask) {
        for (int i = 0; i < 2; ++i)  // bytes of ones are -1
            counts.k[i] = _mm256_sub_epi8(counts.k[i], bytes_of(uint32_t(mask >> (32 * i))));
    }

    static LMHT_INLINE void put(const Counts& counts, uint8_t* to) {
        for (int i = 0; i < 2; ++i)
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(to) + i, counts.k[i]);
    }

    static LMHT_INLINE uint64_t odd(const uint8_t* count, uint64_t among) {
        return among & high_bits(_mm256_slli_epi16(half(count, 0), 7),
                                 _mm256_slli_epi16(half(count, 1), 7));
    }

    static LMHT_INLINE uint64_t at_least(const uint8_t* count, int level, uint64_t among) {
        const __m256i least = _mm256_set1_epi8(char(level));
        const auto reached = [&](int i) {
            return _mm256_cmpeq_epi8(_mm256_max_epu8(half(count, i), least), half(count, i));
        };
        return among & high_bits(reached(0), reached(1));
    }

    static LMHT_INLINE int64_t sum_of_bytes(const uint8_t* bytes, int words) {
        __m256i sums = _mm256_setzero_si256();
        for (; words >= 4; words -= 4, bytes += 32)
            sums = _mm256_add_epi64(sums, _mm256_sad_epu8(half(bytes, 0), _mm256_setzero_si256()));
        int64_t found[4];
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(found), sums);
        return found[0] + found[1] + found[2] + found[3] + Portable::sum_of_bytes(bytes, words);
    }
};

}  // namespace
}  // namespace lmht
