// AArch64 with dot products (SDOT): Cortex-A55, A76 and Apple M1, and later ones.
#define VECTOR_BYTES 16
#include "native/compiled_tier.hpp"
#include "neon.hpp"
#include "table.hpp"

namespace lmht {
namespace {

struct DotProd : NeonDots<DotProd> {
    static constexpr int dense_max = 127;  // SDOT takes signed values

    // Adds the dot products of the values of quad LANE with four weights.
    template <int LANE>
    static LMHT_INLINE I32 dot_lane(I32 sum, int8x16_t weights, uint8x16_t values) {
        return (I32)vdotq_laneq_s32((int32x4_t)sum, weights, vreinterpretq_s8_u8(values), LANE);
    }
};

}  // namespace

const Kernels* kernels_dotprod() {
    static constexpr Kernels kernels = table<DotProd>("dotprod", DotProd::costs);
    return &kernels;
}

}  // namespace lmht
