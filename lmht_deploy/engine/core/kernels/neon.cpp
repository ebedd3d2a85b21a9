// Any AArch64 processor. Without dot products, a dense path would take more operations than adding
// every row.
#define VECTOR_BYTES 16
#include "neon.hpp"
#include "native/compiled_tier.hpp"
#include "table.hpp"

namespace lmht {

const Kernels* kernels_neon() {
    static constexpr Kernels kernels = table<Neon>("neon", {.binary_row = 5,
                                                            .graded_row = 5,
                                                            .weighted_row = 30,
                                                            .large_slice_factor = 1.35f,
                                                            .dense_slot = 0,
                                                            .dense_pixel = 40,
                                                            .dense_word = 20,
                                                            .list_pixel = 30,
                                                            .graded_pixel = 60,
                                                            .list_word = 20,
                                                            .extra_list_pixel = 50});
    return &kernels;
}

}  // namespace lmht
