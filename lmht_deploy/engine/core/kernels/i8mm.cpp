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
    static constexpr int dot_slots = 2 * QUAD;

    // USMMLA multiplies eight values of two pixels with eight weights of two channels. The sums of
    // two pixels p, p + 1 and four channels are in two vectors, and in the end in order:
    //
    //     pair[0]     | pixel p: c, c + 1     | pixel p + 1: c, c + 1     |
    //     pair[1]     | pixel p: c + 2, c + 3 | pixel p + 1: c + 2, c + 3 |
    //
    // The last one of an odd number of pixels is taken twice.
    template <int P, int V>
    static LMHT_INLINE void add_quads(I32 (&sum)[P][V], const uint8_t* values, ptrdiff_t pitch,
                                      const int8_t* weights, int quads) {
        constexpr int PAIRS = (P + 1) / 2;
        int32x4_t pair[PAIRS][2 * V];
        LMHT_UNROLL for (int n = 0; n < PAIRS * 2 * V; ++n) pair[n / (2 * V)][n % (2 * V)] =
            vdupq_n_s32(0);
        uint8x16_t k[PAIRS], next[PAIRS];
        for (; quads >= 4; quads -= 4, values += 4 * QUAD, weights += 4 * QUAD * LANES) {
            LMHT_UNROLL for (int p = 0; p < PAIRS; ++p) {
                const uint64x2_t one = vreinterpretq_u64_u8(vld1q_u8(values + 2 * p * pitch)),
                                 two = vreinterpretq_u64_u8(
                                     vld1q_u8(values + second_of<P>(p) * pitch));
                k[p] = vreinterpretq_u8_u64(vzip1q_u64(one, two));
                next[p] = vreinterpretq_u8_u64(vzip2q_u64(one, two));
            }
            add_two_quads(pair, k, weights);
            add_two_quads(pair, next, weights + 2 * QUAD * LANES);
        }
        if (quads > 0) {
            LMHT_UNROLL for (int p = 0; p < PAIRS; ++p) k[p] = vcombine_u8(
                vld1_u8(values + 2 * p * pitch), vld1_u8(values + second_of<P>(p) * pitch));
            add_two_quads(pair, k, weights);
        }
        LMHT_UNROLL for (int p = 0; p < P; ++p) LMHT_UNROLL for (int v = 0; v < V; ++v) {
            const int64x2_t first = vreinterpretq_s64_s32(pair[p / 2][2 * v]),
                            second = vreinterpretq_s64_s32(pair[p / 2][2 * v + 1]);
            sum[p][v] += (I32)(p % 2 ? vzip2q_s64(first, second) : vzip1q_s64(first, second));
        }
    }

    // The second pixel of pair p.
    template <int P>
    static constexpr int second_of(int p) {
        return 2 * p + 1 < P ? 2 * p + 1 : 2 * p;
    }

    template <int PAIRS, int N>
    static LMHT_INLINE void add_two_quads(int32x4_t (&pair)[PAIRS][N], const uint8x16_t (&k)[PAIRS],
                                          const int8_t* weights) {
        LMHT_UNROLL for (int n = 0; n < N; n += 4) {
            const int8x16x4_t w = vld1q_s8_x4(weights + n * BYTES);
            LMHT_UNROLL for (int i = 0; i < 4; ++i) LMHT_UNROLL for (int p = 0; p < PAIRS; ++p)
                pair[p][n + i] = vusmmlaq_s32(pair[p][n + i], k[p], w.val[i]);
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
