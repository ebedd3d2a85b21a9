// Any CPU: what the compiler makes of plain C++ for its baseline.
#define VECTOR_BYTES 16
#include "table.hpp"

namespace lmht {

const Kernels* kernels_generic() {
    static constexpr Kernels kernels = table<Portable>("generic", {.binary_row = 6,
                                                                   .graded_row = 6,
                                                                   .weighted_row = 30,
                                                                   .cache_miss_factor = 1,
                                                                   .dense_slot = 0,
                                                                   .list_pixel = 0,
                                                                   .list_word = 0,
                                                                   .extra_list_pixel = 50});
    return &kernels;
}

}  // namespace lmht
