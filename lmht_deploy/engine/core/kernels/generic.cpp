// Any CPU: what the compiler's baseline gives (SSE2 on x86-64, NEON on AArch64).
#define VECTOR_BYTES 16
#include "row.hpp"

namespace lmht {

const Kernels* kernels_generic() {
    static constexpr Kernels kernels = table<Portable>("generic", 6, 6, 30, 0, 0, 0);
    return &kernels;
}

}  // namespace lmht
