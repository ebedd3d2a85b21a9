// AArch64 with dot products (USDOT) and products of matrices (USMMLA) of unsigned and signed bytes:
// Neoverse V1, Cortex-A710 and Apple M2, and later ones.
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

    // USMMLA multiplies eight values of two pixels with eight weights of two channels. In the loop
    // the sums of two pixels are
    //
    //     sum[p]      | pixel p: c, c + 1 | pixel p + 1: c, c + 1 |
    //     sum[p + 1]  | pixel p: c + 2, c + 3 | pixel p + 1: c + 2, c + 3 |
    //
    // and before and after it they are in order.
    template <int P, int V>
    static LMHT_INLINE void add_four_quads(I32 (&sum)[P][V], const uint8_t* values, ptrdiff_t pitch,
                                           const int8_t* weights, int fours) {
        if constexpr (P % 2 != 0)
            return NeonDots<I8mm>::add_four_quads(sum, values, pitch, weights, fours);
        if (fours == 0) return;
        pair_pixels(sum);
        for (int n = 0; n < 2 * fours; ++n, values += 2 * QUAD, weights += 2 * QUAD * LANES)
            add_two_quads(sum, values, pitch, weights);
        pair_pixels(sum);
    }

    // `sum` is in pairs.
    template <int P, int V>
    static LMHT_INLINE void add_two_quads(I32 (&sum)[P][V], const uint8_t* values, ptrdiff_t pitch,
                                          const int8_t* weights) {
        uint8x16_t k[P / 2];
        LMHT_UNROLL for (int p = 0; p < P; p += 2) k[p / 2] =
            vcombine_u8(vld1_u8(values + p * pitch), vld1_u8(values + (p + 1) * pitch));
        LMHT_UNROLL for (int v = 0; v < V; ++v) {
            const int32x4_t first = vreinterpretq_s32_s8(vld1q_s8(weights + v * BYTES)),
                            second =
                                vreinterpretq_s32_s8(vld1q_s8(weights + QUAD * LANES + v * BYTES));
            const int8x16_t lower = vreinterpretq_s8_s32(vzip1q_s32(first, second)),
                            upper = vreinterpretq_s8_s32(vzip2q_s32(first, second));
            LMHT_UNROLL for (int p = 0; p < P; p += 2) {
                sum[p][v] = (I32)vusmmlaq_s32((int32x4_t)sum[p][v], k[p / 2], lower);
                sum[p + 1][v] = (I32)vusmmlaq_s32((int32x4_t)sum[p + 1][v], k[p / 2], upper);
            }
        }
    }

    // The upper half of the sums of pixel p, and the lower half of those of pixel p + 1, change
    // places.
    template <int P, int V>
    static LMHT_INLINE void pair_pixels(I32 (&sum)[P][V]) {
        LMHT_UNROLL for (int p = 0; p < P; p += 2) LMHT_UNROLL for (int v = 0; v < V; ++v) {
            const int64x2_t one = (int64x2_t)sum[p][v], next = (int64x2_t)sum[p + 1][v];
            sum[p][v] = (I32)vzip1q_s64(one, next);
            sum[p + 1][v] = (I32)vzip2q_s64(one, next);
        }
    }
};

constexpr Costs with_products(Costs costs) {
    costs.dense_slot /= 2;
    return costs;
}

}  // namespace

const Kernels* kernels_i8mm() {
    static constexpr Kernels kernels = table<I8mm>("i8mm", with_products(I8mm::costs));
    return &kernels;
}

}  // namespace lmht
