// x86-64 with AVX-512 and VNNI: Ice Lake, Zen 4 and later.
#define VECTOR_BYTES 64
#include "avx512.hpp"
#include "native/compiled_tier.hpp"
#include "table.hpp"

namespace lmht {

const Kernels* kernels_avx512vnni() {
    constexpr Costs usual{.binary_row = 1.8f,
                          .graded_row = 2.05f,
                          .weighted_row = 9,
                          .large_slice_factor = 1.35f,
                          .dense_slot = 0.52f,
                          .dense_pixel = 40,
                          .dense_word = 4,
                          .list_pixel = 35,
                          .graded_pixel = 70,
                          .list_word = 8,
                          .extra_list_pixel = 45};
    // Zen 4 takes two cycles per operation on 512 bits. Its second-level cache is half as large as
    // that of the CPU on which the usual costs were measured.
    constexpr Costs zen4{.binary_row = 1.8f,
                         .graded_row = 2.1f,
                         .weighted_row = 9,
                         .large_slice_factor = 1.35f,
                         .dense_slot = 1.04f,
                         .dense_pixel = 40,
                         .dense_word = 4,
                         .list_pixel = 60,
                         .graded_pixel = 120,
                         .list_word = 16,
                         .extra_list_pixel = 45};
    static const Kernels kernels =
        table<Avx512>("avx512vnni", __builtin_cpu_is("amdfam19h") ? zen4 : usual);
    return &kernels;
}

}  // namespace lmht
