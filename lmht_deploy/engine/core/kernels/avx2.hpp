// Primitives of the tiers with AVX2.
#pragma once
#include "portable.hpp"

namespace lmht {
namespace {

struct Avx2 : Portable {
    static constexpr int dense_max = 127;  // two products of 127 and -128 still fit 16 bits
    static constexpr int dense_pixels = 3, dense_vectors = 4;

    // Adds the dot products of four values (unsigned) with four weights (signed).
    static LMHT_INLINE I32 dot(I32 sum, I32 values, I32 weights) {
        const __m256i pairs = _mm256_maddubs_epi16((__m256i)values, (__m256i)weights);
        return sum + (I32)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
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

    static LMHT_INLINE int64_t sum(const uint8_t* count, size_t pitch, int steps, int words) {
        __m256i total = _mm256_setzero_si256();
        for (int step = 0; step < steps; ++step, count += pitch * LANES)
            for (int i = 0; i < 2 * words; ++i)
                total = _mm256_add_epi64(total,
                                         _mm256_sad_epu8(half(count, i), _mm256_setzero_si256()));
        int64_t sums[4];
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums), total);
        return sums[0] + sums[1] + sums[2] + sums[3];
    }
};

}  // namespace
}  // namespace lmht
