// x86-64 with AVX2.
#define VECTOR_BYTES 32
#include "row.hpp"

namespace lmht {

const Kernels* kernels_avx2() {
    static constexpr Kernels kernels = table<Portable>("avx2", 2, 12, 0);
    return &kernels;
}

}  // namespace lmht
