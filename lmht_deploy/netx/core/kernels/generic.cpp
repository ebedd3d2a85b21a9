// Any processor.
#include "portable.hpp"

namespace lmht::netx {

const Kernels* kernels_generic() {
    static constexpr Kernels kernels = table("generic");
    return &kernels;
}

}  // namespace lmht::netx
