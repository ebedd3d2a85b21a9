// x86-64 with AVX2.
#define VECTOR_BYTES 32
#include "native/compiled_tier.hpp"
#include "table.hpp"

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
};

}  // namespace

const Kernels* kernels_avx2() {
    static constexpr Kernels kernels = table<Avx2>("avx2", {.binary_row = 2.6f,
                                                            .graded_row = 2.6f,
                                                            .weighted_row = 14,
                                                            .cache_miss_factor = 1,
                                                            .dense_slot = 2.6f,
                                                            .list_pixel = 40,
                                                            .list_word = 30,
                                                            .extra_list_pixel = 50});
    return &kernels;
}

}  // namespace lmht
