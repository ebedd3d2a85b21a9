// x86-64 with AVX2.
#include "native/compiled_tier.hpp"
#include "portable.hpp"

namespace lmht::netx {

const Kernels* kernels_avx2() {
    static constexpr Kernels kernels = table("avx2");
    return &kernels;
}

}  // namespace lmht::netx
