#include "native/aligned.hpp"

#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace lmht {

namespace {

size_t alignment_of(size_t bytes) {
    return bytes >= HUGE_PAGE ? HUGE_PAGE : CACHE_LINE;
}

// At least one byte more: kernels may read a little beyond the end.
size_t rounded_up(size_t bytes) {
    return (bytes / alignment_of(bytes) + 1) * alignment_of(bytes);
}

}  // namespace

void* allocate_aligned(size_t bytes) {
    void* const memory = std::aligned_alloc(alignment_of(bytes), rounded_up(bytes));
    if (!memory) throw std::bad_alloc();
#if defined(__linux__)
    // A request only: with small pages everything works, too.
    if (bytes >= HUGE_PAGE) madvise(memory, rounded_up(bytes), MADV_HUGEPAGE);
#endif
    return memory;
}

void free_aligned(void* memory) {
    std::free(memory);
}

Aligned<uint8_t> aligned(size_t bytes) {
    Aligned<uint8_t> memory(static_cast<uint8_t*>(allocate_aligned(bytes)));
    std::memset(memory.get(), 0, rounded_up(bytes));
    return memory;
}

}  // namespace lmht
