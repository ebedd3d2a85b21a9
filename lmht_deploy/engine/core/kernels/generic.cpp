// Any CPU: what the compiler makes of plain C++ for its baseline.
#define VECTOR_BYTES 16
#include "table.hpp"

namespace lmht {

const Kernels* kernels_generic() {
    static constexpr Kernels kernels = table<Portable>("generic", {.binary_row = 6,
                                                                   .graded_row = 6,
                                                                   .weighted_row = 30,
                                                                   .large_slice_factor = 1.35f,
                                                                   .dense_slot = 0,
                                                                   .dense_pixel = 40,
                                                                   .dense_word = 20,
                                                                   .list_pixel = 60,
                                                                   .graded_pixel = 120,
                                                                   .list_word = 20,
                                                                   .extra_list_pixel = 50});
    return &kernels;
}

}  // namespace lmht
