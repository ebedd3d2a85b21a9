// Vectors of one tier, by the vector extensions of GCC and Clang. One translation unit per tier
// includes this and defines VECTOR_BYTES. Everything is local to it, so that no function of one
// tier is linked into another.
#pragma once
#include <cstdint>
#include <cstring>

#include "../kernels.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#endif

#define LMHT_INLINE inline __attribute__((always_inline))
#define LMHT_INLINE_LAMBDA __attribute__((always_inline))
#define LMHT_NOINLINE __attribute__((noinline))
#define LMHT_UNROLL _Pragma("GCC unroll 16")

namespace lmht {
namespace {

constexpr int BYTES = VECTOR_BYTES;
constexpr int PER = BYTES / 4;        // 32-bit lanes in a vector
constexpr int PARTS = LANES / BYTES;  // vectors in a row of 64 weights
constexpr int VECTORS = LANES / PER;  // vectors in 64 accumulators

typedef int32_t I32 __attribute__((vector_size(BYTES)));
typedef uint32_t U32 __attribute__((vector_size(BYTES)));
typedef uint16_t U16 __attribute__((vector_size(BYTES)));
typedef uint8_t U8 __attribute__((vector_size(BYTES)));
typedef float F32 __attribute__((vector_size(BYTES)));

// 64 accumulators, in the order of the channels. Unsigned, because intermediate sums may wrap. The
// final ones are proved to fit.
struct Lanes {
    U32 v[VECTORS];
};

// The same vectors anywhere in memory.
typedef uint32_t AnyU32 __attribute__((vector_size(BYTES), aligned(4), may_alias));
typedef int32_t AnyI32 __attribute__((vector_size(BYTES), aligned(4), may_alias));
typedef uint16_t AnyU16 __attribute__((vector_size(BYTES), aligned(1), may_alias));
typedef uint8_t AnyU8 __attribute__((vector_size(BYTES), aligned(1), may_alias));

LMHT_INLINE Lanes load(const int32_t* from) {
    Lanes lanes;
    LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) lanes.v[n] =
        reinterpret_cast<const AnyU32*>(from)[n];
    return lanes;
}

LMHT_INLINE void store(const Lanes& lanes, int32_t* to) {
    LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) reinterpret_cast<AnyU32*>(to)[n] = lanes.v[n];
}

LMHT_INLINE Lanes splat(uint32_t value) {
    Lanes lanes;
    LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) lanes.v[n] = U32{} + value;
    return lanes;
}

LMHT_INLINE void add(Lanes& a, const Lanes& b) {
    LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) a.v[n] += b.v[n];
}

LMHT_INLINE void add_times(Lanes& a, const Lanes& b, uint32_t factor) {
    LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) a.v[n] += b.v[n] * factor;
}

LMHT_INLINE void shift_left(Lanes& a, int bits) {
    LMHT_UNROLL for (int n = 0; n < VECTORS; ++n) a.v[n] <<= bits;
}

}  // namespace
}  // namespace lmht
