#include <cstdint>

#include "check.hpp"
#include "native/aligned.hpp"

using namespace lmht;

static size_t offset(const void* memory, size_t alignment) {
    return reinterpret_cast<uintptr_t>(memory) % alignment;
}

TEST(blocks_are_aligned_and_zero) {
    for (size_t bytes : {size_t(0), size_t(1), size_t(63), size_t(64), size_t(100000),
                         HUGE_PAGE - 1, HUGE_PAGE, HUGE_PAGE + 1, 3 * HUGE_PAGE}) {
        const Aligned<uint8_t> block = aligned(bytes);
        CHECK_EQUAL(offset(block.get(), bytes >= HUGE_PAGE ? HUGE_PAGE : CACHE_LINE), 0u);
        size_t dirty = 0;
        for (size_t i = 0; i <= bytes; ++i) dirty += block[i] != 0;  // one more byte is readable
        CHECK_EQUAL(dirty, 0u);
    }
}

TEST(vectors_are_aligned_and_grow) {
    AlignedVector<int32_t> numbers(17);
    CHECK_EQUAL(offset(numbers.data(), CACHE_LINE), 0u);
    for (int i = 0; i < 1000; ++i) numbers.push_back(i);
    CHECK_EQUAL(offset(numbers.data(), CACHE_LINE), 0u);
    CHECK_EQUAL(numbers[16], 0);
    CHECK_EQUAL(numbers.back(), 999);
    const AlignedVector<int32_t> copy = numbers;
    CHECK(copy == numbers);
}

TEST(too_much_memory_is_an_exception) {
    CHECK_THROWS(allocate_aligned(SIZE_MAX / 2), std::bad_alloc, "");
}
