// Memory for vectors: it begins on a cache line, so that rows of lanes cross as few lines as they
// can. Large blocks begin on a huge page and ask for huge pages: the cores read weights at random,
// and each small page would need an entry of the TLB.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace lmht {

constexpr size_t CACHE_LINE = 64;
constexpr size_t HUGE_PAGE = size_t(2) << 20;

// Not initialized. Throws std::bad_alloc.
void* allocate_aligned(size_t bytes);
void free_aligned(void* memory);

struct FreeAligned {
    void operator()(void* memory) const { free_aligned(memory); }
};
template <class T>
using Aligned = std::unique_ptr<T[], FreeAligned>;

// `bytes` zeros.
Aligned<uint8_t> aligned(size_t bytes);

template <class T>
struct AlignedAllocator {
    using value_type = T;
    AlignedAllocator() = default;
    template <class Other>
    AlignedAllocator(const AlignedAllocator<Other>&) {}
    T* allocate(size_t n) { return static_cast<T*>(allocate_aligned(n * sizeof(T))); }
    void deallocate(T* memory, size_t) { free_aligned(memory); }
    bool operator==(const AlignedAllocator&) const { return true; }
};
template <class T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;

}  // namespace lmht
