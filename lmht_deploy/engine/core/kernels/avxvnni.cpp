// x86-64 with AVX2 and the dot products of AVX-VNNI: Alder Lake, Zen 5 and later.
#define VECTOR_BYTES 32
#include "avx2.hpp"
#include "native/compiled_tier.hpp"
#include "table.hpp"

namespace lmht {
namespace {

struct AvxVnni : Avx2 {
    static constexpr int dense_max = 255;
    static constexpr bool narrow_dots = false;

    // Adds the dot products of four values (unsigned) with four weights (signed).
    static LMHT_INLINE I32 dot(I32 sum, I32 values, I32 weights) {
        return (I32)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)values, (__m256i)weights);
    }
};

}  // namespace

const Kernels* kernels_avxvnni() {
    static constexpr Kernels kernels = table<AvxVnni>("avxvnni", {.binary_row = 2.2f,
                                                                  .graded_row = 2.4f,
                                                                  .weighted_row = 14,
                                                                  .large_slice_factor = 1.35f,
                                                                  .dense_slot = 0.97f,
                                                                  .dense_pixel = 40,
                                                                  .dense_word = 8,
                                                                  .list_pixel = 90,
                                                                  .graded_pixel = 180,
                                                                  .list_word = 20,
                                                                  .extra_list_pixel = 100});
    return &kernels;
}

}  // namespace lmht
