// Any CPU: what the compiler's baseline gives (SSE2 on x86-64, NEON on AArch64).
#define VECTOR_BYTES 16
#include "row.hpp"

namespace lmht {

const Kernels* kernels_generic() {
    static constexpr Kernels kernels = table<Portable>("generic", {.add = 6,
                                                                   .graded = 6,
                                                                   .weighted = 30,
                                                                   .far = 1,
                                                                   .dense = 0,
                                                                   .pixel = 0,
                                                                   .word = 0,
                                                                   .split = 50});
    return &kernels;
}

}  // namespace lmht
