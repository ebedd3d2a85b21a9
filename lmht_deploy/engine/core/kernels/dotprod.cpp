// AArch64 with dot products (SDOT): Cortex-A55, A76 and Apple M1, and later ones.
#define VECTOR_BYTES 16
#include "native/compiled_tier.hpp"
#include "neon.hpp"
#include "table.hpp"

namespace lmht {
namespace {

struct DotProd : Neon {
    static constexpr int dense_max = 127;  // SDOT takes signed values

    // Adds the dot products of four values with four weights.
    static LMHT_INLINE I32 dot(I32 sum, I32 values, I32 weights) {
        return (I32)vdotq_s32((int32x4_t)sum, (int8x16_t)values, (int8x16_t)weights);
    }
};

}  // namespace

const Kernels* kernels_dotprod() {
    static constexpr Kernels kernels = table<DotProd>("dotprod", {.binary_row = 5,
                                                                  .graded_row = 5,
                                                                  .weighted_row = 30,
                                                                  .cache_miss_factor = 1,
                                                                  .dense_slot = 1.4f,
                                                                  .list_pixel = 30,
                                                                  .list_word = 20,
                                                                  .extra_list_pixel = 50});
    return &kernels;
}

}  // namespace lmht
