// AArch64 with dot products of unsigned and signed bytes (USDOT): Neoverse V1, Cortex-A710 and
// Apple M2, and later ones.
#define VECTOR_BYTES 16
#include "native/compiled_tier.hpp"
#include "neon.hpp"
#include "table.hpp"

namespace lmht {
namespace {

struct I8mm : NeonDots<I8mm> {
    static constexpr int dense_max = 255;

    // Adds the dot products of four values with four weights.
    static LMHT_INLINE I32 dot(I32 sum, I32 values, I32 weights) {
        return (I32)vusdotq_s32((int32x4_t)sum, (uint8x16_t)values, (int8x16_t)weights);
    }

    // The same with quad LANE of the values.
    template <int LANE>
    static LMHT_INLINE I32 dot_lane(I32 sum, int8x16_t weights, uint8x16_t values) {
        return (I32)vsudotq_laneq_s32((int32x4_t)sum, weights, values, LANE);
    }
};

}  // namespace

const Kernels* kernels_i8mm() {
    static constexpr Kernels kernels = table<I8mm>("i8mm", I8mm::costs);
    return &kernels;
}

}  // namespace lmht
