// Fetches weights that are needed soon into the cache.
#pragma once
#include "simd.hpp"

namespace lmht {
namespace {

constexpr int FETCHED_BYTES = 64;  // by one prefetch

// Weights that are needed soon, fetched little by little: fetches in a burst would delay what is
// computed now.
class Prefetcher {
public:
    // The work beside which they are fetched has `units` parts.
    Prefetcher(const uint8_t* from, size_t bytes, int units)
        : at_(from),
          due_(from),
          end_(from + bytes),
          lines_(int((bytes / FETCHED_BYTES + units - 1) / units)) {}

    // A unit is one pixel of one block.
    Prefetcher(const NeuronRow& row, int first_block)
        : Prefetcher(row.prefetch, row.prefetch_bytes, row.width * (row.blocks - first_block)) {}

    // Lines to fetch beside one unit.
    LMHT_INLINE int lines() const { return lines_; }

    LMHT_INLINE void fetch(int n) {
        set_due(n);
        finish();
    }

    // The same line by line. Those that are due after `begin` are fetched by `fetch_line`, and
    // those that are left by `finish`. A few are no burst.
    LMHT_INLINE void begin(int n) {
        set_due(n);
        if (n <= FEW) finish();
    }

    LMHT_INLINE bool is_due() const { return at_ < due_; }

    LMHT_INLINE void finish() {
        while (is_due()) fetch_line();
    }

    LMHT_INLINE void fetch_line() {
#if defined(__wasm__)  // has no instruction for it: a load that nobody waits for does the same
        static_cast<void>(*static_cast<const volatile uint8_t*>(at_));
#else
        __builtin_prefetch(at_, 0, 2);
#endif
        at_ += FETCHED_BYTES;
    }

private:
    static constexpr int FEW = 8;

    LMHT_INLINE void set_due(int n) {
        const ptrdiff_t bytes = ptrdiff_t(n) * FETCHED_BYTES;
        due_ = bytes < end_ - at_ ? at_ + bytes : end_;
    }

    const uint8_t *at_, *due_, *end_;
    int lines_;
};

}  // namespace
}  // namespace lmht
