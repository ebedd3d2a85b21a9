// x86-64 with AVX2.
#define VECTOR_BYTES 32
#include "avx2.hpp"
#include "native/compiled_tier.hpp"
#include "table.hpp"

namespace lmht {

const Kernels* kernels_avx2() {
    static constexpr Kernels kernels = table<Avx2>("avx2", {.binary_row = 2.2f,
                                                            .graded_row = 2.1f,
                                                            .weighted_row = 14,
                                                            .large_slice_factor = 1.35f,
                                                            .dense_slot = 1.5f,
                                                            .dense_pixel = 40,
                                                            .dense_word = 8,
                                                            .list_pixel = 90,
                                                            .graded_pixel = 180,
                                                            .list_word = 20,
                                                            .extra_list_pixel = 100});
    return &kernels;
}

}  // namespace lmht
