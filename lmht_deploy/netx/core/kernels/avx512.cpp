// x86-64 with AVX-512 (F, BW, DQ, VL).
#include "native/compiled_tier.hpp"
#include "portable.hpp"

namespace lmht::netx {

const Kernels* kernels_avx512() {
    static constexpr Kernels kernels = table("avx512");
    return &kernels;
}

}  // namespace lmht::netx
